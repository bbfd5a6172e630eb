/** The life of an instance, its clock and its random source, and the errors of its calls. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  ArgumentRangeError,
  ArgumentTypeError,
  ClockBehindError,
  CollisionError,
  EntropyUnavailableError,
  HostError,
  InvalidTokenError,
  LimitReachedError,
  NoStateKeyError,
  ScopeDeniedError,
  SessionError,
  SessionExpiredError,
  SessionNotFoundError,
  createSessions,
} from 'clawdb-session';

import { AGENT, REQUEST, hmacGuard } from './support/guards.js';

const START = Date.parse('2030-01-01T00:00:00Z');

test('each kind of error is a class with its payload', async () => {
  const sessions = await createSessions({ guard: hmacGuard(), config: { maxSessions: 1 } });
  const { session, token } = sessions.create(REQUEST);
  type SessionErrorClass = new (...args: never[]) => SessionError;
  const expected: [() => unknown, SessionErrorClass, object][] = [
    [() => sessions.validate('x'), InvalidTokenError, { name: 'InvalidTokenError' }],
    [() => sessions.create(REQUEST), LimitReachedError, { limit: 'max-sessions' }],
    [() => sessions.authorize(token, 'admin'), ScopeDeniedError, { scope: 'admin' }],
    [() => sessions.get(crypto.randomUUID()), SessionNotFoundError, { kind: 'session-not-found' }],
    [() => sessions.changes(0, 1), NoStateKeyError, { kind: 'no-state-key' }],
  ];
  for (const [call, type, members] of expected) {
    assert.throws(call, (error) => {
      assert.ok(error instanceof type && error instanceof SessionError, String(error));
      for (const [name, value] of Object.entries(members)) {
        assert.equal((error as unknown as Record<string, unknown>)[name], value);
      }
      assert.match(error.stack ?? '', /instance\.test\.js/);
      return true;
    });
  }
  assert.equal(sessions.get(session.id).role, 'worker');
});

test('a clock that throws or answers nonsense ends no session', async () => {
  let clock = (): unknown => START;
  const sessions = await createSessions({ guard: hmacGuard(), clock: () => clock() as number });
  const { token } = sessions.create(REQUEST);
  const readings = [NaN, -Infinity, -1, 0, undefined, '2030-01-01', 1n, {}, new Date(START)];
  for (const reading of readings) {
    clock = () => reading;
    assert.equal(sessions.validate(token).agentId, AGENT);
  }
  clock = () => {
    throw new Error('there is no clock');
  };
  assert.equal(sessions.validate(token).agentId, AGENT);
  clock = () => sessions.stats();
  assert.equal(sessions.validate(token).agentId, AGENT);
  clock = () => START + 0.75;
  assert.equal(sessions.stats().now, START);
  // A time after the year 9999 counts as a failed reading too.
  for (const reading of [1e300, Infinity, Number.MAX_SAFE_INTEGER]) {
    clock = () => reading;
    assert.equal(sessions.validate(token).agentId, AGENT);
  }
  assert.equal(sessions.ended, undefined);
});

test('a clock that gives no milliseconds at the start is refused', async () => {
  const started = (clock: () => unknown): Promise<unknown> =>
    createSessions({ guard: hmacGuard(), clock: clock as () => number });
  const first = Date.parse('2020-01-01T00:00:00Z');
  const last = Date.parse('9999-12-31T23:59:59.999Z');
  const ranges = [START / 1_000, START * 1_000, 0, NaN, Infinity, first - 1, last + 1];
  for (const reading of ranges) {
    await assert.rejects(
      started(() => reading),
      (error) => error instanceof ArgumentRangeError && /clock .*milliseconds/.test(error.message),
    );
  }
  for (const reading of [undefined, '2030-01-01', 1n, new Date(START), Promise.reject(1)]) {
    await assert.rejects(started(() => reading), ArgumentTypeError);
  }
  await started(() => first);
  await started(() => last);
  await started(() => {
    throw new Error('there is no clock');
  });
});

test('a session ends at its time, and a clock that is set back grants none', async () => {
  let now = START;
  const clock = (): number => now;
  const sessions = await createSessions({ guard: hmacGuard(), clock });
  const { session, token } = sessions.create(REQUEST);
  assert.equal(session.expiresAt, START + 900_000);
  now = session.expiresAt - 1;
  assert.equal(sessions.validate(token).id, session.id);
  now = session.expiresAt;
  assert.throws(() => sessions.validate(token), SessionExpiredError);
  now -= 3_600_000;
  assert.throws(
    () => sessions.create(REQUEST),
    (error) => error instanceof ClockBehindError && error.lag === 3_600_000,
  );
});

test('a random source that throws or answers nonsense gives no bytes', async () => {
  const sources: (() => unknown)[] = [
    () => undefined,
    () => 'bytes',
    () => [1, 2, 3],
    () => new Uint8Array(),
    () => {
      throw new Error('there is no randomness');
    },
  ];
  for (const source of sources) {
    const sessions = await createSessions({
      guard: hmacGuard(),
      entropy: () => source() as Uint8Array,
    });
    assert.throws(() => sessions.create(REQUEST), EntropyUnavailableError);
  }
  const repeats = await createSessions({
    guard: hmacGuard(),
    // More bytes than wanted are cut.
    entropy: (length) => new Uint8Array(length + 100).fill(7),
  });
  repeats.create(REQUEST);
  assert.throws(
    () => repeats.create(REQUEST),
    (error) => error instanceof CollisionError && error.duplicate === 'session-id',
  );
});

test('a clock or a random source that returns a Promise cannot end the process', async () => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown): number => unhandled.push(reason);
  process.on('unhandledRejection', note);
  let clock = (): unknown => START;
  let entropy = (length: number): unknown => new Uint8Array(length).fill(7);
  const sessions = await createSessions({
    guard: hmacGuard(),
    clock: () => clock() as number,
    entropy: (length) => entropy(length) as Uint8Array,
  });
  const { token } = sessions.create(REQUEST);
  clock = entropy = async () => {
    throw new Error('a rejection that nobody awaits');
  };
  assert.equal(sessions.validate(token).agentId, AGENT);
  assert.throws(() => sessions.create(REQUEST), SessionError);
  await assert.rejects(createSessions({ guard: hmacGuard(), clock: clock as never }), TypeError);
  const fresh = await createSessions({ guard: hmacGuard(), entropy: entropy as never });
  assert.throws(() => fresh.create(REQUEST), EntropyUnavailableError);
  await new Promise((resolve) => setTimeout(resolve, 20));
  process.off('unhandledRejection', note);
  assert.deepEqual(unhandled, []);
});

test('instances share nothing, and methods work alone', async () => {
  const [one, other] = await Promise.all([
    createSessions({ guard: hmacGuard() }),
    createSessions({ guard: hmacGuard() }),
  ]);
  const { create, validate } = one;
  const { token } = create(REQUEST);
  assert.equal(validate(token).agentId, AGENT);
  assert.throws(() => other.validate(token), InvalidTokenError);
  assert.deepEqual([one.activeCount(), other.activeCount()], [1, 0]);
});

test('a closed instance takes no calls', async () => {
  const sessions = await createSessions({ guard: hmacGuard() });
  const { token } = sessions.create(REQUEST);
  sessions.close();
  sessions.close();
  const isClosed = (error: unknown): boolean =>
    error instanceof HostError && error.kind === 'closed';
  assert.throws(() => sessions.validate(token), isClosed);
  assert.ok(isClosed(sessions.ended));
});

test('another instance restores the records', async () => {
  const guard = hmacGuard();
  const config = { stateKey: crypto.getRandomValues(new Uint8Array(32)) };
  const first = await createSessions({ guard, config });
  const { session, token } = first.create(REQUEST);
  const page = first.changes(0, 1_000);
  assert.equal(page.more, false);
  first.close();

  const second = await createSessions({ guard, config });
  second.restore(page.changes);
  assert.deepEqual(second.validate(token), session);
  const { events } = second.pollEvents(0, 10);
  assert.deepEqual(events, []);
  second.revoke(session.id);
  const [event] = second.pollEvents(0, 10).events;
  assert.ok(event?.kind === 'ended');
  assert.equal(event.reason, 'revoked');
  assert.equal(typeof event.run, 'bigint');
});
