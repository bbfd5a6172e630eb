import type { GuardError } from './guard-error.js';
import type { Timestamp } from './types.js';

/** A request for a token. */
export interface IssueRequest {
  /** On whose behalf: `agent:` and the agent's id. */
  principal: string;
  /** The session's task type, or `default`. */
  task: string;
  /** The session of the token: a UUID. */
  sessionId: string;
  /** The agent: a UUID. */
  agentId: string;
  /** The configured workspace, or the nil UUID. */
  workspaceId: string;
  /** The agent's role. */
  role: string;
  /** The granted scopes. */
  scopes: string[];
  /** The requested expiry. The session takes an earlier one, and ignores a later one. */
  expiresAt: Timestamp;
}

/** A token that a guard issued. */
export interface IssuedToken {
  /** The bearer token: 1-8,192 bytes. */
  token: string;
  /** The guard's name for the token: 1-512 bytes, different for each token. */
  handle: string;
  /** When the token expires. */
  expiresAt: Timestamp;
}

/** What a valid token states. */
export interface Claims {
  /** The handle that the token was issued with. */
  handle: string;
  /** When the token expires. */
  expiresAt: Timestamp;
}

/**
 * The authority that issues, validates and revokes bearer tokens.
 *
 * The functions answer at once: while one runs, nothing else runs. They throw a `GuardError` to
 * refuse. Any other exception, an answer of another shape and a Promise count as `unavailable`. A
 * function must not call the sessions.
 */
export interface Guard {
  /** Issues a token. */
  issueSessionToken(request: IssueRequest): IssuedToken;
  /** Validates a token, and returns the handle that it was issued with and its expiry. */
  validateToken(token: string): Claims;
  /**
   * Revokes a token by its handle. Revoking it again is no error. A return without a value confirms
   * the revocation. Any value but `undefined` counts as `unavailable`.
   */
  revokeToken(handle: string): void;
  /**
   * Validates 1-256 tokens. Returns one result for each, in their order. By default `validateToken`
   * is called for each, until one is `unavailable`; the others are then `unavailable` too.
   */
  validateTokens?(tokens: string[]): readonly (Claims | GuardError)[];
  /**
   * Revokes 1-256 tokens by their handles. Returns one result for each, in their order:
   * `undefined` for success. By default `revokeToken` is called for each, until one is
   * `unavailable`; the others are then `unavailable` too.
   */
  revokeTokens?(handles: string[]): readonly (GuardError | undefined)[];
}

/** The part of an `AbortSignal` that a program sees whose types have none. */
interface Abortable {
  readonly aborted: boolean;
  readonly reason: unknown;
  addEventListener(type: 'abort', listener: () => void): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

/** The `AbortSignal` of the program's types, from the library `dom` or from `@types/node`. */
export type Signal = typeof globalThis extends { AbortSignal: { prototype: infer Known } }
  ? Known
  : Abortable;

type MaybePromise<T> = T | PromiseLike<T>;

/**
 * A guard that may wait. The functions mean the same as those of `Guard`, and may return Promises.
 *
 * A call that takes longer than `guardDeadline` counts as `unavailable`. The signal is aborted
 * then; pass it to whatever the function waits for.
 */
export interface AsyncGuard {
  issueSessionToken(request: IssueRequest, signal: Signal): MaybePromise<IssuedToken>;
  validateToken(token: string, signal: Signal): MaybePromise<Claims>;
  revokeToken(handle: string, signal: Signal): MaybePromise<void>;
  /** By default `validateToken` is called for 16 tokens at a time. */
  validateTokens?(
    tokens: string[],
    signal: Signal,
  ): MaybePromise<readonly (Claims | GuardError)[]>;
  /** By default `revokeToken` is called for 16 handles at a time. */
  revokeTokens?(
    handles: string[],
    signal: Signal,
  ): MaybePromise<readonly (GuardError | undefined)[]>;
}
