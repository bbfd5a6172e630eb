import type { GuardError } from './guard-error.js';

/** Milliseconds since 1970-01-01T00:00:00Z, as `Date.now()` returns them. */
export type Timestamp = number;

/**
 * A number of 64 bits in an argument: a whole number up to `Number.MAX_SAFE_INTEGER`, or a bigint.
 * Answers have a bigint only where the value may be larger: in `run` and `eventRun`.
 */
export type U64 = number | bigint;

/** A request for a session. */
export interface CreateRequest {
  /** The agent: a UUID. */
  agentId: string;
  /** The agent's role: 1-64 bytes. */
  role: string;
  /** At most 128 scopes of 1-256 printable ASCII characters; none by default. */
  scopes?: readonly string[] | undefined;
  /** The agent's task: 1-128 bytes. */
  taskType?: string | undefined;
  /** The lifetime in seconds; `defaultTtl` of the configuration by default. */
  expiresIn?: U64 | undefined;
  /** A JSON text of at most 16,384 bytes; `{}` by default. It is returned byte for byte. */
  metadata?: string | undefined;
  /** How often the session can be used; no limit by default. */
  maxUses?: number | undefined;
}

/** A live session. */
export interface Session {
  /** The session's id: a UUID. */
  id: string;
  /** The agent of the session. */
  agentId: string;
  /** The configured workspace, or the nil UUID. */
  workspaceId: string;
  /** The agent's role. */
  role: string;
  /** The scopes in the order of the request, without duplicates. */
  scopes: string[];
  /** The task type of the request. */
  taskType: string | undefined;
  /** When the session was requested. */
  createdAt: Timestamp;
  /** The first millisecond at which the session is not live, unless it is refreshed. */
  expiresAt: Timestamp;
  /** The metadata of the request, a JSON text. */
  metadata: string;
  /** The session that it was delegated from. */
  parent: string | undefined;
  /** The session at the top of the delegations; its own id for one that `create` made. */
  root: string;
  /** The number of its current token: 0 for the first. */
  generation: number;
  /** How many uses are left, if there is a limit. */
  usesLeft: number | undefined;
}

/** A session and its bearer token. The token is returned only once and is not stored. */
export interface Grant {
  session: Session;
  /** The token that the agent presents from now on. */
  token: string;
}

/** The result of a revocation. The session has ended in any case. */
export interface Revocation {
  /** The session that ended. */
  sessionId: string;
  /** Whether the token is invalid with the guard too. If not, the revocation stays pending. */
  guardConfirmed: boolean;
  /** What the guard answered instead of confirming. */
  guardError: GuardError | undefined;
  /** How many live sessions below it ended with it. */
  descendants: number;
}

/** The sessions that `revokeAll` ends: all, those with a role, or a root with all below it. */
export type RevokeFilter = 'everything' | { role: string } | { root: string };

/** The result of a flush. */
export interface FlushReport {
  /** Revocations that this flush settled. */
  settled: number;
  /** Revocations that are still pending. */
  pending: number;
}

/** The part of a listing to return. */
export interface Page {
  /** `next` of the previous page; the beginning by default. */
  cursor?: U64 | undefined;
  /** The most rows: 1-1,000; 100 by default. */
  limit?: number | undefined;
}

/** A part of a listing, oldest session first. */
export interface SessionPage {
  sessions: Session[];
  /** The cursor of the next page, if a live session follows. */
  next: number | undefined;
}

/** Why a session ended. `wit/sync/events.wit` describes each reason. */
export type EndReason =
  | 'revoked'
  | 'revoked-all'
  | 'cascade'
  | 'invalidated'
  | 'expired'
  | 'idle'
  | 'max-lifetime'
  | 'exhausted'
  | 'theft'
  | 'limit';

/** Why an attempt with a live session was refused. */
export type Denial = 'superseded' | 'guard' | 'handle' | 'scope' | 'delegation';

/** What happened to a session. */
export type EventKind =
  | { kind: 'created' | 'refreshed' | 'rotated' }
  | { kind: 'ended'; reason: EndReason }
  | { kind: 'denied'; reason: Denial };

/** One thing that happened to one session. */
export type Event = EventKind & {
  /** The run that `sequence` belongs to: a random number of 64 bits. */
  run: bigint;
  /** Rises by one with each event of a run. */
  sequence: number;
  /** When it was recorded. */
  time: Timestamp;
  sessionId: string;
  agentId: string;
  /** The session that it was delegated from. */
  parent: string | undefined;
  /** The session at the top of the delegations. */
  root: string;
  /** The generation of the session's token after this event. */
  generation: number;
  /** Always 0: a page has its own `missed`. */
  missed: number;
};

/** A page of events. */
export interface EventPage {
  /** The events in order of their sequence. */
  events: Event[];
  /** The `since` of the next page. */
  next: number;
  /** How many events after `since` are no longer kept. */
  missed: number;
  /** The current run; 0n before there is one. */
  run: bigint;
}

/** A record and its place in the feed of changes. */
export interface Change {
  /** The number of the record's last change. */
  sequence: number;
  /** The subject of the record. A later change with the same key replaces this one. */
  key: string;
  /** The record: sealed JSON. */
  value: string;
  /** The time from which the record is not needed. */
  forgetAt?: Timestamp | undefined;
}

/** A page of the feed of changes. */
export interface ChangePage {
  /** The changes in order of their sequence. */
  changes: Change[];
  /** The `since` of the next page. */
  next: number;
  /** Whether there are changes after `next` now. */
  more: boolean;
  /** The component's time, to compare `forgetAt` with. */
  now: Timestamp;
}

/** What happens to a create when its agent has `maxSessionsPerAgent` sessions already. */
export type Overflow = 'refuse' | 'evict-oldest';

/** The limits. A field without a value keeps its default. */
export interface Config {
  /** The workspace of the sessions: a UUID; nil by default. */
  workspaceId?: string | undefined;
  /** The lifetime of a session whose request has none, in seconds; 3,600 by default. */
  defaultTtl?: U64 | undefined;
  /** The longest life of a session with all its refreshes, in seconds; 30 days by default. */
  maxLifetime?: U64 | undefined;
  /** The most sessions at a time: 1 to 10,000,000; 1,000,000 by default. */
  maxSessions?: number | undefined;
  /** The most sessions of one agent: 1 to 100,000; 1,000 by default. */
  maxSessionsPerAgent?: number | undefined;
  /** What happens at `maxSessionsPerAgent`; `refuse` by default. */
  agentOverflow?: Overflow | undefined;
  /** The most sessions below a root: 1 to 100,000; 1,000 by default. */
  maxSessionsPerRoot?: number | undefined;
  /** The largest depth below a root: 0 (no delegation) to 16; 3 by default. */
  maxDepth?: number | undefined;
  /** How long a rotated token can be presented once more, in seconds: 0 to 300; 0 by default. */
  rotationGrace?: U64 | undefined;
  /** After how many seconds without use a session expires; never by default. */
  idleTimeout?: U64 | undefined;
  /** How long a validation by the guard is cached, in seconds: 1 to 300; not by default. */
  guardRecheckInterval?: U64 | undefined;
  /** The largest lag of the clock at which calls grant time, in seconds; 60 by default. */
  clockTolerance?: U64 | undefined;
  /** How many events are kept: 1 to 65,536; 1,024 by default. */
  eventCapacity?: number | undefined;
  /** The most bytes of state: 65,536 to 2.25 GiB; 2 GiB by default. */
  maxStateBytes?: U64 | undefined;
  /** The key that seals records: 32-64 random bytes. Without it there are no records. */
  stateKey?: Uint8Array | undefined;
  /** Earlier keys that may seal restored records: at most 8. */
  previousStateKeys?: readonly Uint8Array[] | undefined;
}

/** Figures for monitoring. */
export interface Statistics {
  /** The version of the component. */
  version: string;
  /** The component's time. */
  now: Timestamp;
  /** How many milliseconds the clock's last reading is before the component's time. */
  clockLag: number;
  /** Whether the lag is above `clockTolerance`, so that no call grants time. */
  clockBehind: boolean;
  /** Live sessions, counted as `activeCount` does. */
  liveSessions: number;
  /** Expired sessions that no call has ended yet. */
  prunableSessions: number;
  /** Always 0 in this world. */
  createsInFlight: number;
  /** Agents with sessions. */
  trackedAgents: number;
  /** Revocations that the guard has not confirmed yet. */
  pendingRevocations: number;
  /** Always 0 in this world. */
  subscribers: number;
  /** Records of ended sessions, kill switches and settled revocations. */
  tombstones: number;
  /** The sequence number of the newest change. */
  lastChange: number;
  /** The bytes that count against `maxStateBytes`. */
  stateBytes: number;
  /** The sequence number of the newest event; 0 before the first. */
  lastEvent: number;
  /** The current run of events; 0n before there is one. */
  eventRun: bigint;
  /** Sessions created since the instance started. */
  created: number;
  /** Refreshes since the instance started. */
  refreshed: number;
  /** Rotations since the instance started. */
  rotated: number;
  /** Attempts refused since the instance started. */
  denied: number;
  /** Sessions that ended since the instance started. */
  ended: number;
}
