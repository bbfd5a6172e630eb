/** The guard as the component calls it. */

import type * as component from './component.js';
import type { Guard } from './guard.js';
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

const PROMISE =
  'the guard returned a Promise, and it must answer at once; a guard that waits needs ' +
  'createAsyncSessions';

/** The import of the component, and what the guard threw in a call. */
export interface GuardPort {
  readonly imports: component.GuardImports;
  /** The exception that the guard threw in the call that runs, or that ran last. */
  readonly cause: unknown;
  /** Forgets the exception of the last call. */
  begin(): void;
}

/**
 * Returns the guard as a port that answers each call. Only a `GuardBroken` passes through the
 * component; all else that the guard throws or returns becomes an answer.
 */
export function guardPort(guard: Guard): GuardPort {
  const hasValidateTokens = guard.validateTokens !== undefined;
  const hasRevokeTokens = guard.revokeTokens !== undefined;
  let cause: unknown;

  const failed = (thrown: unknown): component.GuardError => {
    cause ??= causeOf(thrown);
    return guardError(thrown);
  };

  /** Calls the guard and reads its answer. */
  function ask<T>(call: () => unknown, read: (answer: unknown) => T): Result<T> {
    try {
      return { tag: 'ok', val: read(value(call(), PROMISE)) };
    } catch (thrown) {
      return { tag: 'err', val: failed(thrown) };
    }
  }

  /** Calls the guard for each item. After an `unavailable`, the others get the same error. */
  function askEach<T>(items: string[], call: (item: string) => Result<T>): Result<T>[] {
    let unavailable: Result<T> | undefined;
    return items.map((item) => {
      const result = unavailable ?? call(item);
      if (result.tag === 'err' && result.val.tag === 'unavailable') {
        unavailable = result;
      }
      return result;
    });
  }

  /** Calls the guard once for all items. */
  function askBatch<T>(
    items: string[],
    call: () => unknown,
    read: (answer: unknown) => T,
  ): Result<T>[] {
    // The guard may change the list.
    const count = items.length;
    const result = ask(call, (answer) => batch(answer, count, read, failed));
    return result.tag === 'ok' ? result.val : failedBatch(count, result.val);
  }

  const validateToken = (token: string): Result<component.Claims> =>
    ask(() => guard.validateToken(token), claims);
  const revokeToken = (handle: string): Result<void> =>
    ask(() => guard.revokeToken(handle), revoked);

  return {
    imports: {
      issueSessionToken: (request) =>
        unwrap(ask(() => guard.issueSessionToken(issueRequest(request)), issuedToken)),
      validateToken: (token) => unwrap(validateToken(token)),
      validateTokens: (tokens) =>
        hasValidateTokens
          ? askBatch(tokens, () => guard.validateTokens?.(tokens), claims)
          : askEach(tokens, validateToken),
      revokeTokens: (handles) =>
        hasRevokeTokens
          ? askBatch(handles, () => guard.revokeTokens?.(handles), revoked)
          : askEach(handles, revokeToken),
    },
    get cause() {
      return cause;
    },
    begin() {
      cause = undefined;
    },
  };
}
