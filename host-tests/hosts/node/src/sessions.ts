import type { AnySessionError, HostError } from './errors.js';
import type {
  Change,
  ChangePage,
  Config,
  CreateRequest,
  EventPage,
  FlushReport,
  Grant,
  Page,
  RevokeFilter,
  Revocation,
  Session,
  SessionPage,
  Statistics,
  U64,
} from './types.js';

/**
 * The operations of the component. `wit/sync` describes each in full, with its bounds and errors.
 *
 * A refused call throws a subclass of `SessionError`. An argument of a wrong type throws
 * `ArgumentTypeError`, and a number that the contract cannot represent `ArgumentRangeError`. If the
 * instance does not run the call, it throws `HostError`.
 */
export interface Operations {
  /** Creates a session. The guard issues its token. */
  create(request: CreateRequest): Grant;
  /** Creates a session for a sub-agent below another session. */
  delegate(parentSessionId: string, request: CreateRequest): Grant;
  /** Returns the session of a token. */
  validate(token: string): Session;
  /** Validates up to 256 tokens. Returns a session or an error for each, in their order. */
  validateMany(tokens: readonly string[]): (Session | AnySessionError)[];
  /** Returns the session of a token if one of its scopes covers `scope`. */
  authorize(token: string, scope: string): Session;
  /** Replaces the token that the bearer holds. The reuse of a replaced token ends the session. */
  rotate(token: string): Grant;
  /** Restarts the idle time of a session. */
  touch(sessionId: string): void;
  /** Gives a session a new token, and grants its lifetime again from now. */
  refresh(sessionId: string): Grant;
  /** Ends a session and all below it. */
  revoke(sessionId: string): Revocation;
  /** Ends the session of a token and all below it: a logout. */
  revokeByToken(token: string): Revocation;
  /**
   * Ends all sessions of an agent: the kill switch. Returns how many sessions this call ended. A
   * call ends at most 10,000, and those below the last one. No call accepts the others either, and
   * `pruneExpired` ends them.
   */
  revokeAllForAgent(agentId: string): number;
  /**
   * Ends all sessions, those with a role, or a root session with all below it. Returns how many
   * sessions this call ended: as with `revokeAllForAgent`, at most 10,000.
   */
  revokeAll(filter: RevokeFilter): number;
  /** Asks the guard again for revocations that it has not confirmed. */
  flushGuardRevocations(): FlushReport;
  /** Returns a live session. */
  get(sessionId: string): Session;
  /** Returns a page of the live sessions of an agent, oldest first. */
  listForAgent(agentId: string, page?: Page): SessionPage;
  /** Returns how many sessions are live, with those that a kill switch has left. */
  activeCount(): number;
  /** Ends expired sessions, and those that a kill switch has left. Returns how many. */
  pruneExpired(limit?: number): number;
  /** Creates a session with the default lifetime: ClawDB's original signature. */
  createSession(
    agentId: string,
    role: string,
    scopes: readonly string[],
    taskType?: string,
  ): Grant;
  /** Returns a live session: ClawDB's original signature. */
  getSession(id: string): Session;
  /** Ends a session without asking the guard: ClawDB's original signature. */
  invalidate(id: string): void;
  /** Returns the events after the sequence number `since` (0: from the first). */
  pollEvents(since: U64, limit: number): EventPage;
  /** Returns the records that changed after the sequence number `since` (0: all). */
  changes(since: U64, limit: number): ChangePage;
  /** Restores sessions from records, before the first operation on sessions. */
  restore(changes: readonly Change[]): void;
  /** Closes the run of events, so that the next instance continues it without a gap. */
  closeEventRun(): void;
  /** Asks the guard again for pending revocations whose change is stored. */
  flushStoredRevocations(stored: U64): FlushReport;
  /** Sets the limits, once, before the first session. */
  configure(config: Config): void;
  /**
   * Ends all sessions and accepts a clock that was set back. Returns how many sessions this call
   * ended, at most 10,000 and those below the last one. Repeat it until it throws
   * `clock-not-behind`.
   */
  acceptClock(): number;
  /** Returns figures for monitoring. */
  stats(): Statistics;
}

/** How an instance ends. */
export interface Lifecycle {
  /** Ends the instance. Its sessions are lost, and later calls throw a `HostError`. */
  close(): void;
  /** Why the instance takes no calls; `undefined` while it takes them. */
  readonly ended: HostError | undefined;
}

/** A running instance. A call returns when the operation has ended. */
export interface Sessions extends Operations, Lifecycle {}

/** The operations of `Operations`, which return Promises. */
export type AsyncOperations = {
  [Name in keyof Operations]: (
    ...args: Parameters<Operations[Name]>
  ) => Promise<ReturnType<Operations[Name]>>;
};

/** A running instance whose guard may wait. Calls run one after the other, in their order. */
export interface AsyncSessions extends AsyncOperations, Lifecycle {}
