/** A guided sequence of calls, which the visitor starts and continues step by step. */

import type { Grant } from '../backend/backend.js';
import { failureMeaning, failureName } from '../model/meanings.js';
import type { Playground } from '../model/playground.js';
import type { Outcome } from '../model/state.js';

export interface Scenario {
  readonly title: string;
  readonly summary: string;
  /** Returns the steps of a new run. */
  steps(playground: Playground): Step[];
}

export interface Step {
  /** What the step does, and why. */
  readonly text: string;
  /** Does it, and returns what happened. Throws a `StepError` if the scenario cannot continue. */
  run(): Promise<string>;
}

/** A step has failed, because the visitor has changed something that it needs. */
export class StepError extends Error {}

/** Returns the value of a call that has to succeed. */
export function expectOk<T>(outcome: Outcome<T>): T {
  if (!outcome.ok) {
    const { failure } = outcome;
    throw new StepError(`The answer is ${failureName(failure)}. ${failureMeaning(failure)}`);
  }
  return outcome.value;
}

/** Returns a sentence about what a call answered. */
export function answerOf(outcome: Outcome<unknown>): string {
  return outcome.ok ? 'The call succeeds.' : `The answer is ${failureName(outcome.failure)}.`;
}

/** Creates a session of a new agent. */
export async function newSession(
  playground: Playground,
  agent: string,
  role: string,
  scopes: string[],
): Promise<Grant> {
  const { id } = playground.addAgent(agent);
  return expectOk(await playground.create({ agentId: id, role, scopes, expiresIn: 3_600 }));
}
