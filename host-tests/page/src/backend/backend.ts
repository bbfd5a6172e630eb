/**
 * What the page needs of whatever keeps the sessions. The views know only this, not which backend
 * answers.
 */

import type {
  CreateRequest,
  Event,
  FlushReport,
  Grant,
  GuardErrorKind,
  HostErrorKind,
  RevokeFilter,
  Revocation,
  Session,
  SessionErrorKind,
} from 'clawdb-session';

export type { CreateRequest, Event, FlushReport, Grant, RevokeFilter, Revocation, Session };

/**
 * The operations of the contract. `wit/sync` describes each. A refused call throws a
 * `BackendError`.
 */
export interface Backend {
  /** Returns the time by which the backend's sessions expire, in milliseconds since 1970. */
  now(): number;
  create(request: CreateRequest): Promise<Grant>;
  delegate(parentSessionId: string, request: CreateRequest): Promise<Grant>;
  validate(token: string): Promise<Session>;
  authorize(token: string, scope: string): Promise<Session>;
  rotate(token: string): Promise<Grant>;
  refresh(sessionId: string): Promise<Grant>;
  get(sessionId: string): Promise<Session>;
  revoke(sessionId: string): Promise<Revocation>;
  revokeByToken(token: string): Promise<Revocation>;
  revokeAllForAgent(agentId: string): Promise<number>;
  revokeAll(filter: RevokeFilter): Promise<number>;
  acceptClock(): Promise<number>;
  /** Returns the events after a sequence number, at most `limit` of them. */
  events(since: number, limit: number): Promise<Events>;
  figures(): Promise<Figures>;
  /** What only a backend inside the page has. */
  readonly controls?: Controls;
}

/** A page of events. */
export interface Events {
  events: Event[];
  /** The `since` of the next page. */
  next: number;
  /** How many events after `since` are no longer kept. */
  missed: number;
}

/** Current figures. */
export interface Figures {
  /** The version of the component. */
  version: string;
  liveSessions: number;
  /** Expired sessions that no call has ended yet. */
  prunableSessions: number;
  /** Revocations that the guard has not confirmed yet. */
  pendingRevocations: number;
  /** Sessions that ended since the start. */
  ended: number;
  /** Attempts refused since the start. */
  denied: number;
  /** The sequence number of the newest event. */
  lastEvent: number;
  /** How many milliseconds the clock is behind the time inside. */
  clockLag: number;
  /** Whether no call grants time because of that. */
  clockBehind: boolean;
}

/** Control over the surroundings of the component, and what its host does regularly. */
export interface Controls {
  readonly clock: ClockControl;
  readonly guard: GuardControl;
  /** Asks the guard again for pending revocations. */
  flushRevocations(): Promise<FlushReport>;
  /** Ends expired sessions, and returns how many. */
  pruneExpired(): Promise<number>;
  /** Starts another instance without sessions. The clock and the guard start anew too. */
  restart(settings: Settings): Promise<void>;
}

/** The clock of the component. */
export interface ClockControl {
  /** How many milliseconds the clock is ahead of real time. */
  readonly offset: number;
  /** Moves the clock forward, or back if `millis` is negative. */
  advance(millis: number): void;
  /** Sets the clock to real time. */
  reset(): void;
}

/** How the guard answers. */
export type GuardMode = 'answers' | 'unavailable' | 'refuses';

/** The guard of the component. */
export interface GuardControl {
  mode: GuardMode;
  /** Returns the tokens that the guard has issued and not forgotten, oldest first. */
  tokens(): GuardToken[];
  /** How often each function was called. */
  readonly calls: { readonly issue: number; readonly validate: number; readonly revoke: number };
}

/** What the guard knows of a token. The token itself is not part of it. */
export interface GuardToken {
  handle: string;
  sessionId: string;
  expiresAt: number;
  state: 'valid' | 'revoked' | 'expired';
}

/** The limits of an instance, in seconds where they are times. */
export interface Settings {
  defaultTtl?: number | undefined;
  idleTimeout?: number | undefined;
  rotationGrace?: number | undefined;
  maxDepth?: number | undefined;
  maxSessionsPerAgent?: number | undefined;
  clockTolerance?: number | undefined;
}

/** The contract's name of an error, or that of an error of the host. */
export type FailureKind = SessionErrorKind | HostErrorKind;

/** An error as the contract has it: its kind, and the names and values of its payload. */
export interface Failure {
  kind: FailureKind;
  payload: Readonly<Record<string, string | number>>;
  /** The kind of the guard's error, if `kind` is `guard`. */
  guard?: GuardErrorKind;
}

/** A call was refused. */
export class BackendError extends Error {
  override readonly name = 'BackendError';

  constructor(
    readonly failure: Failure,
    options?: ErrorOptions,
  ) {
    super(failure.kind, options);
  }
}
