/** A guard that may wait, as the component calls it. */

import { AsyncLocalStorage } from 'node:async_hooks';

import type * as component from './component.js';
import type { AsyncGuard } from './guard.js';
import {
  type Result,
  batch,
  causeOf,
  claims,
  failedBatch,
  guardError,
  issueRequest,
  issuedToken,
  revoked,
  unwrap,
  value,
} from './guard-answers.js';
import { GuardError } from './guard-error.js';
import type { GuardPort } from './guard-port.js';
import { guardController } from './guard-signal.js';

/** How many items of a batch the guard is asked for at a time. */
const ITEMS_AT_ONCE = 16;

/** The guard as a port whose functions return Promises. */
export interface AsyncGuardPort extends Omit<GuardPort, 'imports'> {
  readonly imports: component.AsyncGuardImports;
  /** Whether a function of the guard that runs has made the call. */
  isInside(): boolean;
}

/** Returns the guard as a port that answers each call within the deadline, in milliseconds. */
export function asyncGuardPort(guard: AsyncGuard, deadline: number): AsyncGuardPort {
  const hasValidateTokens = guard.validateTokens !== undefined;
  const hasRevokeTokens = guard.revokeTokens !== undefined;
  const context = new AsyncLocalStorage<{ runs: boolean }>();
  let cause: unknown;

  const failed = (thrown: unknown): component.GuardError => {
    cause ??= causeOf(thrown);
    return guardError(thrown);
  };

  /** Calls the guard and reads its answer. */
  async function ask<T>(
    call: (signal: AbortSignal) => unknown,
    read: (answer: unknown) => T,
  ): Promise<Result<T>> {
    const inside = { runs: true };
    try {
      const answer = await context.run(inside, () => withDeadline(deadline, call));
      return { tag: 'ok', val: read(value(answer, 'the guard answered with a Promise')) };
    } catch (thrown) {
      return { tag: 'err', val: failed(thrown) };
    } finally {
      inside.runs = false;
    }
  }

  /** Calls the guard for each item. After an `unavailable`, the others get the same error. */
  async function askEach<T>(
    items: string[],
    call: (item: string) => Promise<Result<T>>,
  ): Promise<Result<T>[]> {
    const results = new Array<Result<T>>(items.length);
    const remaining = items.entries();
    let unavailable: Result<T> | undefined;
    const work = async (): Promise<void> => {
      for (const [index, item] of remaining) {
        const result = unavailable ?? (await call(item));
        if (result.tag === 'err' && result.val.tag === 'unavailable') {
          unavailable ??= result;
        }
        results[index] = result;
      }
    };
    await Promise.all(Array.from({ length: ITEMS_AT_ONCE }, work));
    return results;
  }

  /** Calls the guard once for all items. */
  async function askBatch<T>(
    items: string[],
    call: (signal: AbortSignal) => unknown,
    read: (answer: unknown) => T,
  ): Promise<Result<T>[]> {
    // The guard may change the list.
    const count = items.length;
    const result = await ask(call, (answer) => batch(answer, count, read, failed));
    return result.tag === 'ok' ? result.val : failedBatch(count, result.val);
  }

  const validateToken = (token: string): Promise<Result<component.Claims>> =>
    ask((signal) => guard.validateToken(token, signal), claims);
  const revokeToken = (handle: string): Promise<Result<void>> =>
    ask((signal) => guard.revokeToken(handle, signal), revoked);

  return {
    imports: {
      issueSessionToken: async (request) => {
        const issue = (signal: AbortSignal): unknown =>
          guard.issueSessionToken(issueRequest(request), signal);
        return unwrap(await ask(issue, issuedToken));
      },
      validateToken: async (token) => unwrap(await validateToken(token)),
      validateTokens: (tokens) =>
        hasValidateTokens
          ? askBatch(tokens, (signal) => guard.validateTokens?.(tokens, signal), claims)
          : askEach(tokens, validateToken),
      revokeTokens: (handles) =>
        hasRevokeTokens
          ? askBatch(handles, (signal) => guard.revokeTokens?.(handles, signal), revoked)
          : askEach(handles, revokeToken),
    },
    get cause() {
      return cause;
    },
    begin() {
      cause = undefined;
    },
    isInside() {
      return context.getStore()?.runs ?? false;
    },
  };
}

/** Returns the answer of a call, or throws `unavailable` when the deadline has passed. */
async function withDeadline(
  deadline: number,
  call: (signal: AbortSignal) => unknown,
): Promise<unknown> {
  const controller = guardController();
  const { promise: late, reject } = withReject();
  const timer = setTimeout(() => {
    const reason = `the guard did not answer within ${deadline} ms`;
    const error = new GuardError('unavailable', reason);
    reject(error);
    controller.abort(error);
  }, deadline);
  try {
    return await Promise.race([call(controller.signal), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Returns a Promise that only `reject` settles. */
function withReject(): { promise: Promise<never>; reject: (error: Error) => void } {
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<never>((_, rejectPromise) => {
    reject = rejectPromise;
  });
  return { promise, reject };
}
