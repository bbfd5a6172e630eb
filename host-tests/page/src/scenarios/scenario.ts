/** A guided sequence of calls, which the visitor starts and continues step by step. */

import type { Grant } from '../backend/backend.js';
import { failureMeaning, failureName } from '../model/meanings.js';
import type { Playground } from '../model/playground.js';
import type { Agent, Outcome } from '../model/state.js';

export interface Scenario {
  readonly title: string;
  readonly summary: string;
  /** Returns the steps of a new run. */
  steps(playground: Playground): Step[];
  /** Undoes what a run has changed in the surroundings. Called when the visitor closes it. */
  close?(playground: Playground): void;
}

export interface Step {
  /** What the step does. What follows from it is in its outcome. */
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

/** Creates a session that lasts an hour. */
export async function newSession(
  playground: Playground,
  agent: Agent,
  role: string,
  scopes: string[],
): Promise<Grant> {
  const request = { role, scopes, expiresIn: 3_600 };
  return expectOk(await playground.create(agent, request));
}
