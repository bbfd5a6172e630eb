import { asyncGuardPort } from './async-guard-port.js';
import { type AsyncGuardImports, typed } from './component.js';
import { ArgumentRangeError, ArgumentTypeError, HostError } from './errors.js';
import type { AsyncGuard } from './guard.js';
import { ambientImports, checkGuard } from './imports.js';
import { Instance, methods } from './instance.js';
import { coreModule } from './load.js';
import { type Call, calls } from './operations.js';
import type { CommonOptions } from './options.js';
import { Queue } from './queue.js';
import type { AsyncOperations, AsyncSessions } from './sessions.js';

/** How long a function of the guard may take by default, in milliseconds. */
const DEFAULT_DEADLINE = 5_000;
/** How long a call waits for those before it by default, in milliseconds. */
const DEFAULT_BUSY_AFTER = 5_000;
/** The longest time that `setTimeout` can wait. */
const MAX_TIMEOUT = 2 ** 31 - 1;

/** The options of `createAsyncSessions`. */
export interface AsyncSessionsOptions extends CommonOptions {
  /** The authority that issues, validates and revokes tokens. It may return Promises. */
  guard: AsyncGuard;
  /**
   * How long a function of the guard may take, in milliseconds; 5,000 by default. Then it counts as
   * `unavailable`. Without functions for batches, each token of a batch has this deadline.
   */
  guardDeadline?: number | undefined;
  /**
   * How long a call waits for the calls before it, in milliseconds; 5,000 by default. Then it
   * throws a `HostError` of the kind `busy`, and has not taken effect.
   */
  busyAfter?: number | undefined;
}

/** Returns whether the runtime has JSPI (`WebAssembly.Suspending`). */
export function hasJspi(): boolean {
  return 'Suspending' in WebAssembly && 'promising' in WebAssembly;
}

/**
 * Starts an instance without sessions, whose guard may wait. The runtime must have JSPI.
 *
 * Calls run one after the other: while one waits for the guard, all others wait, revocations
 * included. A call that has waited for `busyAfter` throws a `HostError` of the kind `busy`.
 */
export async function createAsyncSessions(options: AsyncSessionsOptions): Promise<AsyncSessions> {
  if (!hasJspi()) {
    const reason = 'the runtime has no JSPI (WebAssembly.Suspending); use createSessions';
    throw new HostError('unsupported', reason);
  }
  checkGuard(options.guard);
  const { guardDeadline = DEFAULT_DEADLINE, busyAfter = DEFAULT_BUSY_AFTER } = options;
  checkTimeout(guardDeadline, 'guardDeadline');
  checkTimeout(busyAfter, 'busyAfter');
  const guard = asyncGuardPort(options.guard, guardDeadline);
  const ambient = ambientImports(options);
  // Only a runtime with JSPI can load this module.
  const generated = await import('../build/jspi/component.js');
  const instantiate = typed<AsyncGuardImports>(generated.instantiate);
  const instance = new Instance(
    await instantiate(coreModule, { 'clawdb:session-sync/guard': guard.imports, ...ambient }),
  );
  const queue = new Queue(busyAfter);

  async function run<R>(makeCall: () => Call<R>): Promise<R> {
    const call = makeCall();
    if (guard.isInside()) {
      // The call would wait for the call that waits for the guard.
      throw new HostError('reentrant', 'the guard has called the sessions');
    }
    return queue.run(() => perform(call));
  }

  async function perform<R>(call: Call<R>): Promise<R> {
    const component = instance.component();
    guard.begin();
    let raw: unknown;
    try {
      raw = await call.run(component);
    } catch (thrown) {
      throw instance.failure(thrown, guard.cause);
    }
    return call.answer(raw, guard.cause);
  }

  const operations = methods(calls, run) as unknown as AsyncOperations;
  if (options.config !== undefined) {
    await operations.configure(options.config);
  }
  return instance.withLifecycle(operations);
}

function checkTimeout(millis: unknown, path: string): void {
  if (typeof millis !== 'number') {
    throw new ArgumentTypeError(path, 'must be a number');
  }
  if (!(millis >= 1 && millis <= MAX_TIMEOUT)) {
    throw new ArgumentRangeError(path, `must be from 1 to ${MAX_TIMEOUT} ms`);
  }
}
