import { instantiate as generated } from '../build/sync/component.js';
import { type GuardImports, typed } from './component.js';
import { HostError } from './errors.js';
import type { Guard } from './guard.js';
import { guardPort } from './guard-port.js';
import { ambientImports, checkGuard } from './imports.js';
import { Instance, methods } from './instance.js';
import { coreModule } from './load.js';
import { type Call, calls } from './operations.js';
import type { CommonOptions } from './options.js';
import type { Operations, Sessions } from './sessions.js';
import { requireStack } from './stack.js';

const instantiate = typed<GuardImports>(generated);

/** The options of `createSessions`. */
export interface SessionsOptions extends CommonOptions {
  /** The authority that issues, validates and revokes tokens. It answers at once. */
  guard: Guard;
}

/**
 * Starts an instance without sessions.
 *
 * A call runs to its end before it returns, and the guard's functions run in it. A guard that takes
 * long holds up everything, revocations included, so it needs a deadline of its own.
 */
export async function createSessions(options: SessionsOptions): Promise<Sessions> {
  checkGuard(options.guard);
  const guard = guardPort(options.guard);
  const ambient = ambientImports(options);
  const instance = new Instance(
    await instantiate(coreModule, { 'clawdb:session-sync/guard': guard.imports, ...ambient }),
  );
  let running = false;

  function run<R>(makeCall: () => Call<R>): R {
    const call = makeCall();
    const component = instance.component();
    if (running) {
      const reason = 'the guard, the clock or the random source has called the sessions';
      throw new HostError('reentrant', reason);
    }
    requireStack();
    running = true;
    guard.begin();
    let raw: unknown;
    try {
      raw = call.run(component);
    } catch (thrown) {
      throw instance.failure(thrown, guard.cause);
    } finally {
      running = false;
    }
    return call.answer(raw, guard.cause);
  }

  const operations = methods(calls, run) as unknown as Operations;
  if (options.config !== undefined) {
    operations.configure(options.config);
  }
  return instance.withLifecycle(operations);
}
