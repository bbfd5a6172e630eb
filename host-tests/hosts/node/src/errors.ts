import type { GuardError } from './guard-error.js';

/** A limit that a call reached. */
export type Limit =
  | 'max-sessions'
  | 'max-sessions-per-agent'
  | 'max-state-bytes'
  | 'max-sessions-per-root'
  | 'max-depth'
  | 'max-uses'
  | 'subscribers'
  | 'unconfirmed-revocations';

/** A value that must be unique and was repeated. */
export type Duplicate = 'session-id' | 'token' | 'handle' | 'agent-id' | 'role';

/** The kinds of the component's errors. */
export type SessionErrorKind =
  | 'invalid-argument'
  | 'invalid-token'
  | 'session-not-found'
  | 'session-expired'
  | 'session-revoked'
  | 'conflict'
  | 'limit-reached'
  | 'scope-denied'
  | 'guard'
  | 'already-configured'
  | 'already-started'
  | 'no-state-key'
  | 'refused-record'
  | 'collision'
  | 'entropy-unavailable'
  | 'clock-behind'
  | 'clock-not-behind';

/**
 * The component refused a call. Nothing has changed unless the operation says so. Each kind is a
 * class, and `kind` is the contract's name.
 */
export abstract class SessionError extends Error {
  abstract readonly kind: SessionErrorKind;
}

/** An argument is malformed or outside its bounds. */
export class InvalidArgumentError extends SessionError {
  override readonly name = 'InvalidArgumentError';
  readonly kind = 'invalid-argument';

  constructor(
    /** The argument's name, such as `expiresIn`. */
    readonly field: string,
    /** What the argument must be. It never repeats a token. */
    readonly reason: string,
  ) {
    super(`${field} ${reason}`);
  }
}

/** The token is unknown, malformed, superseded, or of an ended session. */
export class InvalidTokenError extends SessionError {
  override readonly name = 'InvalidTokenError';
  readonly kind = 'invalid-token';

  constructor() {
    super('the token is not the current token of a live session');
  }
}

/** No live session has this id. */
export class SessionNotFoundError extends SessionError {
  override readonly name = 'SessionNotFoundError';
  readonly kind = 'session-not-found';

  constructor() {
    super('no live session has this id');
  }
}

/** The session, or one above it, has expired. */
export class SessionExpiredError extends SessionError {
  override readonly name = 'SessionExpiredError';
  readonly kind = 'session-expired';

  constructor() {
    super('the session, or one above it, has expired');
  }
}

/** The session was revoked while the operation was in flight. Does not occur in this world. */
export class SessionRevokedError extends SessionError {
  override readonly name = 'SessionRevokedError';
  readonly kind = 'session-revoked';

  constructor() {
    super('the session was revoked while the operation was in flight');
  }
}

/** Another refresh or rotation took effect. Does not occur in this world. */
export class ConflictError extends SessionError {
  override readonly name = 'ConflictError';
  readonly kind = 'conflict';

  constructor() {
    super('another refresh or rotation of the session took effect');
  }
}

/** A limit is reached. */
export class LimitReachedError extends SessionError {
  override readonly name = 'LimitReachedError';
  readonly kind = 'limit-reached';

  constructor(readonly limit: Limit) {
    super(`the limit ${limit} is reached`);
  }
}

/** The session lacks a scope. */
export class ScopeDeniedError extends SessionError {
  override readonly name = 'ScopeDeniedError';
  readonly kind = 'scope-denied';

  constructor(readonly scope: string) {
    super(`the session lacks the scope ${scope}`);
  }
}

/** The guard refused or failed. If it threw an exception, that is the `cause` of `guardError`. */
export class GuardRefusedError extends SessionError {
  override readonly name = 'GuardRefusedError';
  readonly kind = 'guard';

  constructor(readonly guardError: GuardError) {
    super(`the guard answered ${guardError.message}`, { cause: guardError });
  }
}

/** `configure` has succeeded before, or there has been a session. */
export class AlreadyConfiguredError extends SessionError {
  override readonly name = 'AlreadyConfiguredError';
  readonly kind = 'already-configured';

  constructor() {
    super('the instance is configured, or there has been a session');
  }
}

/**
 * `restore` was called after the first operation on sessions, or after `changes` had returned
 * restored records as new changes.
 */
export class AlreadyStartedError extends SessionError {
  override readonly name = 'AlreadyStartedError';
  readonly kind = 'already-started';

  constructor() {
    super('there has been an operation on sessions');
  }
}

/** The operation needs a `stateKey`. */
export class NoStateKeyError extends SessionError {
  override readonly name = 'NoStateKeyError';
  readonly kind = 'no-state-key';

  constructor() {
    super('no state key is configured');
  }
}

/** `restore` refused a record, and restored none of the call's records. */
export class RefusedRecordError extends SessionError {
  override readonly name = 'RefusedRecordError';
  readonly kind = 'refused-record';

  constructor(
    /** The record's key. */
    readonly key: string,
    readonly reason: string,
  ) {
    super(`the record ${key} ${reason}`);
  }
}

/** The random source, the guard or a hash repeated a value that must be unique. */
export class CollisionError extends SessionError {
  override readonly name = 'CollisionError';
  readonly kind = 'collision';

  constructor(readonly duplicate: Duplicate) {
    super(`the value of ${duplicate} was repeated and must be unique`);
  }
}

/** The host gave no random bytes. */
export class EntropyUnavailableError extends SessionError {
  override readonly name = 'EntropyUnavailableError';
  readonly kind = 'entropy-unavailable';

  constructor() {
    super('the host gave no random bytes');
  }
}

/** The clock is behind the component's time, so the call would grant time by a wrong clock. */
export class ClockBehindError extends SessionError {
  override readonly name = 'ClockBehindError';
  readonly kind = 'clock-behind';

  constructor(
    /** How many milliseconds the clock is behind. */
    readonly lag: number,
  ) {
    super(`the clock is ${lag} ms behind`);
  }
}

/** `acceptClock` was called, and the lag is within `clockTolerance`. */
export class ClockNotBehindError extends SessionError {
  override readonly name = 'ClockNotBehindError';
  readonly kind = 'clock-not-behind';

  constructor() {
    super('the clock is not behind');
  }
}

/** Any error of the component, to be narrowed by `kind`. */
export type AnySessionError =
  | InvalidArgumentError
  | InvalidTokenError
  | SessionNotFoundError
  | SessionExpiredError
  | SessionRevokedError
  | ConflictError
  | LimitReachedError
  | ScopeDeniedError
  | GuardRefusedError
  | AlreadyConfiguredError
  | AlreadyStartedError
  | NoStateKeyError
  | RefusedRecordError
  | CollisionError
  | EntropyUnavailableError
  | ClockBehindError
  | ClockNotBehindError;

/**
 * Why the instance did not run a call.
 *
 * - `trap`: the instance has ended with an error, and its sessions are lost.
 * - `reentrant`: a function of the guard, the clock or the random source called the instance.
 * - `busy`: the calls before this one took longer than `busyAfter`.
 * - `closed`: `close` was called.
 * - `unsupported`: the runtime lacks what the instance needs.
 */
export type HostErrorKind = 'trap' | 'reentrant' | 'busy' | 'closed' | 'unsupported';

/** The instance did not run a call, or ended in it. */
export class HostError extends Error {
  override readonly name = 'HostError';

  constructor(
    readonly kind: HostErrorKind,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** A value has the wrong type. The component was not called. */
export class ArgumentTypeError extends TypeError {
  override readonly name = 'ArgumentTypeError';

  constructor(
    /** The value's path, such as `scopes[3]`. */
    readonly argument: string,
    readonly reason: string,
  ) {
    super(`${argument} ${reason}`);
  }
}

/** A number has the right type, and is not one that the contract can represent. */
export class ArgumentRangeError extends RangeError {
  override readonly name = 'ArgumentRangeError';

  constructor(
    /** The value's path, such as `expiresIn`. */
    readonly argument: string,
    readonly reason: string,
  ) {
    super(`${argument} ${reason}`);
  }
}
