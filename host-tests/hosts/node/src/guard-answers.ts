/** Checks the answers of a guard and converts them for the component. */

import { MAX_TEXT } from './checks.js';
import type * as component from './component.js';
import { HostError } from './errors.js';
import type { IssueRequest } from './guard.js';
import { GuardBroken, GuardError } from './guard-error.js';
import { ignorePromise } from './promises.js';

/** The longest reason of an error, in UTF-16 code units. */
const MAX_REASON = 1_000;

/** The result of a function of the guard. */
export type Result<T> = component.Result<T, component.GuardError>;

/** Returns the request as the guard gets it. */
export function issueRequest(request: component.IssueRequest): IssueRequest {
  return {
    principal: request.principal,
    task: request.task,
    sessionId: request.sessionId,
    agentId: request.agentId,
    workspaceId: request.workspaceId,
    role: request.role,
    scopes: request.scopes,
    expiresAt: Number(request.expiresAt),
  };
}

/** Reads the answer of `issueSessionToken`. Throws a `GuardError` if it is unusable. */
export function issuedToken(answer: unknown): component.IssuedToken {
  const { token, handle, expiresAt } = fields(answer);
  return {
    token: text(token, 'token'),
    handle: text(handle, 'handle'),
    expiresAt: time(expiresAt, 'expiresAt'),
  };
}

/** Reads the answer of `validateToken`. Throws a `GuardError` if it is unusable. */
export function claims(answer: unknown): component.Claims {
  const { handle, expiresAt } = fields(answer);
  return { handle: text(handle, 'handle'), expiresAt: time(expiresAt, 'expiresAt') };
}

/**
 * Reads the answer of `revokeToken`, or that for a handle of `revokeTokens`. Only `undefined` and
 * `null` confirm a revocation; anything else throws a `GuardError`.
 */
export function revoked(answer: unknown): void {
  if (answer !== undefined && answer !== null) {
    throw unusable('a confirmed revocation must be undefined');
  }
}

/** Reads the answer of a function for a batch: one result for each of the items. */
export function batch<T>(
  answer: unknown,
  items: number,
  read: (answer: unknown) => T,
  failed: (thrown: unknown) => component.GuardError,
): Result<T>[] {
  if (!Array.isArray(answer)) {
    throw unusable('the answer for a batch must be an array');
  }
  const length = answer.length;
  if (length !== items) {
    answer.forEach(ignorePromise);
    throw unusable(`there are ${length} results for ${items} items`);
  }
  return Array.from({ length }, (_, index) => {
    try {
      return { tag: 'ok', val: read(value(answer[index], 'a result of a batch is a Promise')) };
    } catch (thrown) {
      return { tag: 'err', val: failed(thrown) };
    }
  });
}

/** Returns the value of a result, or throws its error as the component expects it. */
export function unwrap<T>(result: Result<T>): T {
  if (result.tag === 'err') {
    throw result.val;
  }
  return result.val;
}

/** Returns the same error for each of the items. */
export function failedBatch<T>(items: number, error: component.GuardError): Result<T>[] {
  return Array.from({ length: items }, () => ({ tag: 'err', val: error }));
}

/** Passes through the component and ends the instance. The `cause` is a `GuardBroken`. */
export class GuardTrap extends Error {
  constructor(cause: unknown) {
    super('the guard is broken', { cause });
  }
}

/**
 * Returns the error for something that the guard threw. Throws nothing but `GuardTrap`, for a
 * `GuardBroken`.
 */
export function guardError(thrown: unknown): component.GuardError {
  if (isFatal(thrown)) {
    throw thrown instanceof GuardTrap ? thrown : new GuardTrap(thrown);
  }
  try {
    if (thrown instanceof GuardError) {
      return withReason(thrown.kind, thrown.reason);
    }
    if (thrown instanceof HostError) {
      return { tag: 'unavailable', val: shortened(`the guard failed: ${thrown.message}`) };
    }
    const name: unknown = thrown instanceof Error ? thrown.name : undefined;
    const what = typeof name === 'string' ? name.slice(0, 64) : 'a value that is no error';
    return { tag: 'unavailable', val: shortened(`the guard threw ${what}`) };
  } catch {
    return { tag: 'unavailable', val: 'the guard threw something that cannot be read' };
  }
}

/** Returns what the guard threw, or the cause of a `GuardError` that it threw. Never throws. */
export function causeOf(thrown: unknown): unknown {
  try {
    return thrown instanceof GuardError ? thrown.cause : thrown;
  } catch {
    return undefined;
  }
}

/**
 * Returns the answer of a function. Throws it if it is a `GuardError`, and throws `unavailable`
 * with this reason if it is a Promise.
 */
export function value(answer: unknown, promiseReason: string): unknown {
  if (answer instanceof GuardError) {
    throw answer;
  }
  if (ignorePromise(answer)) {
    throw new GuardError('unavailable', promiseReason);
  }
  return answer;
}

function withReason(kind: unknown, reason: unknown): component.GuardError {
  switch (kind) {
    case 'invalid-token':
    case 'expired':
    case 'revoked':
      return { tag: kind };
    case 'denied':
    case 'unavailable':
      return { tag: kind, val: typeof reason === 'string' ? shortened(reason) : '' };
    default:
      return { tag: 'unavailable', val: 'the guard threw a GuardError of an unknown kind' };
  }
}

function unusable(reason: string): GuardError {
  return new GuardError('unavailable', `the guard's answer is unusable: ${reason}`);
}

/** Returns the members that answers have, each read once. */
function fields(answer: unknown): Record<'token' | 'handle' | 'expiresAt', unknown> {
  if (typeof answer !== 'object' || answer === null) {
    throw unusable('it must be an object');
  }
  const { token, handle, expiresAt } = answer as Record<string, unknown>;
  [token, handle, expiresAt].forEach(ignorePromise);
  return { token, handle, expiresAt };
}

function text(value: unknown, name: string): string {
  if (typeof value !== 'string' || value.length > MAX_TEXT || !value.isWellFormed()) {
    throw unusable(`${name} must be a string of at most ${MAX_TEXT} code units`);
  }
  return value;
}

function time(value: unknown, name: string): bigint {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw unusable(`${name} must be a whole number of milliseconds since 1970`);
  }
  return BigInt(value);
}

function shortened(reason: string): string {
  return reason.slice(0, MAX_REASON).toWellFormed();
}

function isFatal(thrown: unknown): boolean {
  try {
    return thrown instanceof GuardBroken || thrown instanceof GuardTrap;
  } catch {
    return false;
  }
}
