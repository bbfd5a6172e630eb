/** Each kind of error of the component has a class with its payload. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { SessionErrorKind } from 'clawdb-session';

import { sessionError } from '../src/answers.js';
import type * as component from '../src/component.js';
import * as errors from '../src/errors.js';

type Expected<K extends SessionErrorKind> = [
  payload: Extract<component.Error, { tag: K }>,
  type: new (...args: never[]) => errors.SessionError,
  members: object,
];

const EXPECTED: { [K in SessionErrorKind]: Expected<K> } = {
  'invalid-argument': [
    { tag: 'invalid-argument', val: { field: 'expires-in', reason: 'must be more than 0' } },
    errors.InvalidArgumentError,
    {
      field: 'expiresIn',
      reason: 'must be more than 0',
      message: 'expiresIn must be more than 0',
    },
  ],
  'invalid-token': [{ tag: 'invalid-token' }, errors.InvalidTokenError, {}],
  'session-not-found': [{ tag: 'session-not-found' }, errors.SessionNotFoundError, {}],
  'session-expired': [{ tag: 'session-expired' }, errors.SessionExpiredError, {}],
  'session-revoked': [{ tag: 'session-revoked' }, errors.SessionRevokedError, {}],
  conflict: [{ tag: 'conflict' }, errors.ConflictError, {}],
  'limit-reached': [
    { tag: 'limit-reached', val: 'max-depth' },
    errors.LimitReachedError,
    { limit: 'max-depth' },
  ],
  'scope-denied': [
    { tag: 'scope-denied', val: 'admin' },
    errors.ScopeDeniedError,
    { scope: 'admin' },
  ],
  guard: [
    { tag: 'guard', val: { tag: 'denied', val: 'not now' } },
    errors.GuardRefusedError,
    { message: 'the guard answered denied: not now' },
  ],
  'already-configured': [{ tag: 'already-configured' }, errors.AlreadyConfiguredError, {}],
  'already-started': [{ tag: 'already-started' }, errors.AlreadyStartedError, {}],
  'no-state-key': [{ tag: 'no-state-key' }, errors.NoStateKeyError, {}],
  'refused-record': [
    { tag: 'refused-record', val: { key: 'session/1', reason: 'is not sealed' } },
    errors.RefusedRecordError,
    { key: 'session/1', reason: 'is not sealed' },
  ],
  collision: [
    { tag: 'collision', val: 'handle' },
    errors.CollisionError,
    { duplicate: 'handle' },
  ],
  'entropy-unavailable': [{ tag: 'entropy-unavailable' }, errors.EntropyUnavailableError, {}],
  'clock-behind': [{ tag: 'clock-behind', val: 90_000n }, errors.ClockBehindError, { lag: 90_000 }],
  'clock-not-behind': [{ tag: 'clock-not-behind' }, errors.ClockNotBehindError, {}],
};

for (const [kind, [payload, type, members]] of Object.entries(EXPECTED)) {
  test(`${kind} is ${type.name}`, () => {
    const error = sessionError(payload, undefined);
    assert.equal(error.constructor, type);
    assert.ok(error instanceof errors.SessionError);
    assert.notEqual(error.message, '');
    for (const [name, value] of Object.entries({ kind, name: type.name, ...members })) {
      assert.deepEqual((error as unknown as Record<string, unknown>)[name], value, name);
    }
  });
}

test('each class of an error is that of one kind', () => {
  const classes = Object.values(errors).filter(
    (type) => type.prototype instanceof errors.SessionError,
  );
  const expected = Object.values(EXPECTED).map(([, type]) => type);
  assert.equal(expected.length, 17);
  assert.deepEqual(new Set<unknown>(expected), new Set<unknown>(classes));
});
