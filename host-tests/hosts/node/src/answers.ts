/** The answers of the component as natural JavaScript values. */

import type * as component from './component.js';
import {
  type AnySessionError,
  AlreadyConfiguredError,
  AlreadyStartedError,
  ClockBehindError,
  ClockNotBehindError,
  CollisionError,
  ConflictError,
  EntropyUnavailableError,
  GuardRefusedError,
  InvalidArgumentError,
  InvalidTokenError,
  LimitReachedError,
  NoStateKeyError,
  RefusedRecordError,
  ScopeDeniedError,
  SessionExpiredError,
  SessionNotFoundError,
  SessionRevokedError,
} from './errors.js';
import { GuardError } from './guard-error.js';
import { camelCase } from './names.js';
import type {
  Change,
  ChangePage,
  Event,
  EventKind,
  EventPage,
  FlushReport,
  Grant,
  Revocation,
  Session,
  SessionPage,
  Statistics,
} from './types.js';

const number = (value: bigint | undefined): number | undefined =>
  value === undefined ? undefined : Number(value);

/** Returns an answer that needs no conversion. */
export const unchanged = <T>(value: T): T => value;

export function session(session: component.Session): Session {
  return {
    id: session.id,
    agentId: session.agentId,
    workspaceId: session.workspaceId,
    role: session.role,
    scopes: session.scopes,
    taskType: session.taskType,
    createdAt: Number(session.createdAt),
    expiresAt: Number(session.expiresAt),
    metadata: session.metadata,
    parent: session.parent,
    root: session.root,
    generation: Number(session.generation),
    usesLeft: session.usesLeft,
  };
}

export function grant(grant: component.Grant): Grant {
  return { session: session(grant.session), token: grant.token };
}

/** Returns the results of a batch. `cause` is the exception that the guard threw, if any. */
export function validated(
  results: component.Result<component.Session, component.Error>[],
  cause: unknown,
): (Session | AnySessionError)[] {
  return results.map((result) =>
    result.tag === 'ok' ? session(result.val) : sessionError(result.val, cause),
  );
}

export function revocation(revocation: component.Revocation, cause: unknown): Revocation {
  const error = revocation.guardError;
  return {
    sessionId: revocation.sessionId,
    guardConfirmed: revocation.guardConfirmed,
    guardError: error === undefined ? undefined : guardError(error, cause),
    descendants: revocation.descendants,
  };
}

export function flushReport(report: component.FlushReport): FlushReport {
  return report;
}

export function sessionPage(page: component.SessionPage): SessionPage {
  return { sessions: page.sessions.map(session), next: number(page.next) };
}

export function eventPage(page: component.EventPage): EventPage {
  return {
    events: page.events.map(event),
    next: Number(page.next),
    missed: Number(page.missed),
    run: page.run,
  };
}

function event(event: component.Event): Event {
  return {
    run: event.run,
    sequence: Number(event.sequence),
    time: Number(event.time),
    sessionId: event.sessionId,
    agentId: event.agentId,
    parent: event.parent,
    root: event.root,
    generation: Number(event.generation),
    ...eventKind(event.kind),
    missed: Number(event.missed),
  };
}

function eventKind(kind: component.EventKind): EventKind {
  switch (kind.tag) {
    case 'ended':
      return { kind: kind.tag, reason: kind.val };
    case 'denied':
      return { kind: kind.tag, reason: kind.val };
    default:
      return { kind: kind.tag };
  }
}

export function changePage(page: component.ChangePage): ChangePage {
  return {
    changes: page.changes.map(change),
    next: Number(page.next),
    more: page.more,
    now: Number(page.now),
  };
}

function change(change: component.Change): Change {
  return {
    sequence: Number(change.sequence),
    key: change.key,
    value: change.value,
    forgetAt: number(change.forgetAt),
  };
}

export function statistics(stats: component.Statistics): Statistics {
  return {
    version: stats.version,
    now: Number(stats.now),
    clockLag: Number(stats.clockLag),
    clockBehind: stats.clockBehind,
    liveSessions: stats.liveSessions,
    prunableSessions: stats.prunableSessions,
    createsInFlight: stats.createsInFlight,
    trackedAgents: stats.trackedAgents,
    pendingRevocations: stats.pendingRevocations,
    subscribers: stats.subscribers,
    tombstones: stats.tombstones,
    lastChange: Number(stats.lastChange),
    stateBytes: Number(stats.stateBytes),
    lastEvent: Number(stats.lastEvent),
    eventRun: stats.eventRun,
    created: Number(stats.created),
    refreshed: Number(stats.refreshed),
    rotated: Number(stats.rotated),
    denied: Number(stats.denied),
    ended: Number(stats.ended),
  };
}

function guardError(error: component.GuardError, cause: unknown): GuardError {
  switch (error.tag) {
    case 'unavailable':
      return new GuardError(error.tag, error.val, cause === undefined ? undefined : { cause });
    case 'denied':
      return new GuardError(error.tag, error.val);
    default:
      return new GuardError(error.tag);
  }
}

/** Returns the error of the component. `cause` is the exception that the guard threw, if any. */
export function sessionError(error: component.Error, cause: unknown): AnySessionError {
  switch (error.tag) {
    case 'invalid-argument':
      return new InvalidArgumentError(camelCase(error.val.field), error.val.reason);
    case 'invalid-token':
      return new InvalidTokenError();
    case 'session-not-found':
      return new SessionNotFoundError();
    case 'session-expired':
      return new SessionExpiredError();
    case 'session-revoked':
      return new SessionRevokedError();
    case 'conflict':
      return new ConflictError();
    case 'limit-reached':
      return new LimitReachedError(error.val);
    case 'scope-denied':
      return new ScopeDeniedError(error.val);
    case 'guard':
      return new GuardRefusedError(guardError(error.val, cause));
    case 'already-configured':
      return new AlreadyConfiguredError();
    case 'already-started':
      return new AlreadyStartedError();
    case 'no-state-key':
      return new NoStateKeyError();
    case 'refused-record':
      return new RefusedRecordError(error.val.key, error.val.reason);
    case 'collision':
      return new CollisionError(error.val);
    case 'entropy-unavailable':
      return new EntropyUnavailableError();
    case 'clock-behind':
      return new ClockBehindError(Number(error.val));
    case 'clock-not-behind':
      return new ClockNotBehindError();
  }
}
