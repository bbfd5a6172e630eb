/** What the contract's names mean, in a sentence each. */

import type { Event, Failure, FailureKind } from '../backend/backend.js';
import { duration } from './format.js';

const FAILURES: Record<FailureKind, string> = {
  'invalid-argument': 'The argument is malformed or outside its bounds. Nothing has changed.',
  'invalid-token': 'The token is not the current token of a live session.',
  'session-not-found': 'No live session has this id.',
  'session-expired': 'The time of the session, or of one above it, has run out. It has ended.',
  'session-revoked': 'The session was revoked while the call was in flight.',
  conflict: 'Another refresh or rotation took effect first.',
  'limit-reached': 'The call would exceed this limit. Nothing has changed.',
  'scope-denied': 'No scope of the session covers this scope.',
  guard: 'The guard did not do what the call needs. Nothing has changed.',
  'already-configured': 'The limits can be set once, before the first session.',
  'already-started': 'Records can be restored only before the first operation on sessions.',
  'no-state-key': 'The operation needs a key that seals records.',
  'refused-record': 'A record was refused, and none was restored.',
  collision: 'A value that must be unique was repeated. No session was overwritten.',
  'entropy-unavailable': 'There were no random bytes, so no id could be made.',
  'clock-behind': 'The clock was set back, and the call would grant time by a wrong clock.',
  'clock-not-behind': 'The clock is right, so there is nothing to accept.',
  trap: 'The instance has ended with an error. Its sessions are lost: start another one.',
  reentrant: 'The guard has called the component.',
  busy: 'The calls before this one took too long.',
  closed: 'The instance was closed.',
  unsupported: 'The browser lacks what the component needs.',
};

const GUARD_UNAVAILABLE = 'The guard does not answer now. A retry may succeed.';

/** Returns what an error means. */
export function failureMeaning({ kind, guard }: Failure): string {
  return guard === 'unavailable' ? GUARD_UNAVAILABLE : FAILURES[kind];
}

/** Returns the name of an error, with that of the guard's error if it has one. */
export function failureName({ kind, guard }: Failure): string {
  return guard === undefined ? kind : `${kind} ${guard}`;
}

/** Returns the payload of an error as names and texts. */
export function payloadTexts({ payload }: Failure): [name: string, text: string][] {
  return Object.entries(payload).map(([name, value]) => [
    name,
    name === 'lag' && typeof value === 'number' ? duration(value) : String(value),
  ]);
}

const ENDS: Record<Extract<Event, { kind: 'ended' }>['reason'], string> = {
  revoked: 'A call ended this session.',
  'revoked-all': 'A kill switch ended it.',
  cascade: 'A session above it ended.',
  invalidated: 'A call ended it without asking the guard.',
  expired: 'Its time has run out.',
  idle: 'It was not used for the idle timeout.',
  'max-lifetime': 'It has reached the longest life that a session can have.',
  exhausted: 'Its last use was taken.',
  theft: 'A replaced token was presented again, so two parties hold it.',
  limit: 'A newer session of its agent took its place.',
};

const DENIALS: Record<Extract<Event, { kind: 'denied' }>['reason'], string> = {
  superseded: 'A replaced token was presented.',
  guard: 'The guard refused the token.',
  handle: 'The guard named another token.',
  scope: 'The session lacks the scope.',
  delegation: 'The session may not delegate this.',
};

/** Returns what an event means. */
export function eventMeaning(event: Event): string {
  switch (event.kind) {
    case 'created':
      return event.parent === undefined ? 'A new session.' : 'Delegated from another session.';
    case 'refreshed':
      return 'It has a new token and its lifetime anew.';
    case 'rotated':
      return 'The bearer has replaced its token.';
    case 'ended':
      return ENDS[event.reason];
    case 'denied':
      return DENIALS[event.reason];
  }
}
