/** Whatever a guard does, the instance keeps its sessions. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  type CreateRequest,
  GuardBroken,
  GuardError,
  GuardRefusedError,
  HostError,
  type Sessions,
  createSessions,
} from 'clawdb-session';

import { AGENT, REQUEST, ReplaceableGuard, foreignExceptions } from './support/guards.js';

/** Returns the error of the guard that a call reports. */
function guardErrorOf(call: () => unknown): GuardError {
  let reported: GuardError | undefined;
  assert.throws(call, (error) => {
    assert.ok(error instanceof GuardRefusedError, String(error));
    reported = error.guardError;
    return true;
  });
  assert.ok(reported !== undefined);
  return reported;
}

async function start(): Promise<{ guard: ReplaceableGuard; sessions: Sessions }> {
  const guard = new ReplaceableGuard();
  return { guard, sessions: await createSessions({ guard }) };
}

test('2,000 exceptions of the guard are answers, and the session stays valid', async () => {
  const { guard, sessions } = await start();
  const { token } = sessions.create(REQUEST);
  const { validate } = guard;
  guard.validate = () => {
    throw new Error('the database is down');
  };
  for (let call = 0; call < 2_000; call += 1) {
    const error = guardErrorOf(() => sessions.validate(token));
    assert.equal(error.kind, 'unavailable');
  }
  guard.validate = validate;
  assert.equal(sessions.validate(token).agentId, AGENT);
});

test('2,000 errors of the guard as values leave the session valid', async () => {
  const { guard, sessions } = await start();
  const { token } = sessions.create(REQUEST);
  const { validate } = guard;
  guard.validate = () => {
    throw new GuardError('denied', 'not now');
  };
  for (let call = 0; call < 2_000; call += 1) {
    assert.equal(guardErrorOf(() => sessions.validate(token)).reason, 'not now');
  }
  guard.validate = validate;
  assert.equal(sessions.validate(token).agentId, AGENT);
});

test('anything that a function throws counts as unavailable', async () => {
  const { guard, sessions } = await start();
  const { issue, validate, revoke } = guard;
  for (const [name, thrown] of foreignExceptions()) {
    const fail = (): never => {
      throw thrown;
    };
    const { session, token } = sessions.create(REQUEST);
    guard.issue = guard.validate = guard.revoke = fail;
    assert.equal(guardErrorOf(() => sessions.create(REQUEST)).kind, 'unavailable', name);
    assert.equal(guardErrorOf(() => sessions.validate(token)).kind, 'unavailable', name);
    for (const result of sessions.validateMany([token, token])) {
      assert.ok(result instanceof GuardRefusedError, name);
      assert.equal(result.guardError.kind, 'unavailable', name);
    }
    const revocation = sessions.revoke(session.id);
    assert.equal(revocation.guardConfirmed, false, name);
    assert.equal(revocation.guardError?.kind, 'unavailable', name);
    Object.assign(guard, { issue, validate, revoke });
  }
  assert.equal(sessions.flushGuardRevocations().pending, 0);
});

test('the exception of the guard is the cause of the error', async () => {
  const { guard, sessions } = await start();
  const { session, token } = sessions.create(REQUEST);
  const thrown = new TypeError('the secret is in this message');
  guard.validate = guard.revoke = () => {
    throw thrown;
  };
  const error = guardErrorOf(() => sessions.validate(token));
  assert.equal(error.cause, thrown);
  assert.equal(error.reason, 'the guard threw TypeError');
  assert.equal(sessions.revoke(session.id).guardError?.cause, thrown);
});

test('every answer of a wrong shape counts as unavailable', async () => {
  const { guard, sessions } = await start();
  const { token } = sessions.create(REQUEST);
  const expiresAt = Date.now() + 900_000;
  const unusable = [
    undefined,
    null,
    7,
    'handle',
    [],
    {},
    { handle: 7, expiresAt },
    { handle: 'h', expiresAt: '2030-01-01' },
    { handle: 'h', expiresAt: -1 },
    { handle: 'h', expiresAt: NaN },
    { handle: 'h', expiresAt: 2 ** 64 },
    { handle: 'h', expiresAt: BigInt(expiresAt) },
    { handle: '\ud800', expiresAt },
    { handle: 'h'.repeat(2 ** 20 + 1), expiresAt },
    {
      get handle(): string {
        throw new Error('it cannot be read');
      },
      expiresAt,
    },
  ];
  for (const answer of unusable) {
    guard.validate = () => answer;
    guard.issue = () => (typeof answer === 'object' ? { token: 't', ...answer } : answer);
    assert.equal(guardErrorOf(() => sessions.validate(token)).kind, 'unavailable');
    assert.equal(guardErrorOf(() => sessions.create(REQUEST)).kind, 'unavailable');
  }
  guard.issue = () => ({ token: 7, handle: 'h', expiresAt });
  assert.match(guardErrorOf(() => sessions.create(REQUEST)).reason ?? '', /token must be/);
  assert.equal(sessions.activeCount(), 1);
});

test('a guard that returns a Promise is told to answer at once', async () => {
  const { guard, sessions } = await start();
  const { session, token } = sessions.create(REQUEST);
  const unhandled: unknown[] = [];
  const note = (reason: unknown): number => unhandled.push(reason);
  process.on('unhandledRejection', note);
  guard.issue = guard.validate = guard.revoke = async () => {
    throw new Error('a rejection that nobody awaits');
  };
  for (const call of [() => sessions.create(REQUEST), () => sessions.validate(token)]) {
    const error = guardErrorOf(call);
    assert.equal(error.kind, 'unavailable');
    assert.match(error.reason ?? '', /returned a Promise, and it must answer at once/);
  }
  const revocation = sessions.revoke(session.id);
  assert.match(revocation.guardError?.reason ?? '', /returned a Promise/);
  await new Promise((resolve) => setTimeout(resolve, 20));
  process.off('unhandledRejection', note);
  assert.deepEqual(unhandled, []);
});

test('a guard that calls the sessions gets an error, and the session stays valid', async () => {
  const { guard, sessions } = await start();
  const { token } = sessions.create(REQUEST);
  const { validate } = guard;
  guard.validate = () => sessions.validate(token);
  const error = guardErrorOf(() => sessions.validate(token));
  assert.equal(error.kind, 'unavailable');
  assert.match(error.reason ?? '', /has called the sessions/);
  assert.ok(error.cause instanceof HostError);
  assert.equal(error.cause.kind, 'reentrant');
  guard.validate = validate;
  assert.equal(sessions.validate(token).agentId, AGENT);
});

test('a guard can call the sessions of another instance', async () => {
  const other = await createSessions({ guard: new ReplaceableGuard() });
  const { token: permit } = other.create(REQUEST);
  const { guard, sessions } = await start();
  const { token } = sessions.create(REQUEST);
  guard.validate = (presented) => {
    other.validate(permit);
    return guard.inner.validateToken(presented);
  };
  assert.equal(sessions.validate(token).agentId, AGENT);
});

test('a guard that never returns to its caller by recursion is unavailable', async () => {
  const { guard, sessions } = await start();
  const { token } = sessions.create(REQUEST);
  const { validate } = guard;
  const recurse = (): number => 1 + recurse();
  guard.validate = recurse;
  assert.equal(guardErrorOf(() => sessions.validate(token)).reason, 'the guard threw RangeError');
  guard.validate = validate;
  assert.equal(sessions.validate(token).agentId, AGENT);
});

test('a fatal error of the guard ends the instance', async () => {
  const { guard, sessions } = await start();
  const { token } = sessions.create(REQUEST);
  const fatal = Object.assign(new GuardBroken('the key is compromised'), {
    payload: { tag: 'expired' },
  });
  guard.validate = () => {
    throw fatal;
  };
  const isTrap = (error: unknown): boolean => {
    assert.ok(error instanceof HostError);
    assert.equal(error.kind, 'trap');
    assert.equal(error.cause, fatal);
    assert.match(error.message, /its sessions are lost: .*the key is compromised/);
    return true;
  };
  assert.equal(sessions.ended, undefined);
  assert.throws(() => sessions.validate(token), isTrap);
  assert.throws(() => sessions.activeCount(), isTrap);
  assert.ok(isTrap(sessions.ended));
});

test('each error of the guard reaches the caller', async () => {
  const { guard, sessions } = await start();
  const { token } = sessions.create(REQUEST);
  const errors = [
    new GuardError('invalid-token'),
    new GuardError('expired'),
    new GuardError('revoked'),
    new GuardError('denied', 'not for you'),
    new GuardError('unavailable', 'try again'),
  ];
  for (const error of errors) {
    guard.validate = () => {
      throw error;
    };
    const thrown = guardErrorOf(() => sessions.validate(token));
    assert.deepEqual([thrown.kind, thrown.reason], [error.kind, error.reason]);
    guard.validate = () => error;
    const returned = guardErrorOf(() => sessions.validate(token));
    assert.deepEqual([returned.kind, returned.reason], [error.kind, error.reason]);
  }
  guard.validate = () => {
    throw new GuardError('denied', `${'x'.repeat(999)}\u{1f600}`);
  };
  assert.equal(guardErrorOf(() => sessions.validate(token)).reason, `${'x'.repeat(999)}\ufffd`);
});

test('a batch is one call if the guard has a function for it', async () => {
  const guard = new ReplaceableGuard();
  const batches: string[][] = [];
  let answer: (tokens: string[]) => unknown = (tokens) =>
    tokens.map((token, index) =>
      index === 1 ? new GuardError('expired') : guard.inner.validateToken(token),
    );
  const sessions = await createSessions({
    guard: Object.assign(guard, {
      validateTokens(tokens: string[]) {
        batches.push([...tokens]);
        return answer(tokens) as [];
      },
    }),
  });
  const tokens = [1, 2, 3].map(() => sessions.create(REQUEST).token);
  const results = sessions.validateMany(tokens);
  assert.deepEqual(batches, [tokens]);
  const kinds = results.map((result) => ('id' in result ? 'ok' : result.kind));
  assert.deepEqual(kinds, ['ok', 'guard', 'ok']);

  const unusable: ((tokens: string[]) => unknown)[] = [
    () => undefined,
    () => [],
    (tokens) => new Array(tokens.length),
    (tokens) => tokens.map(async () => ({})),
    async (tokens) => tokens.map((token) => guard.inner.validateToken(token)),
    (tokens) => [...tokens, 'more'],
    (tokens) => {
      tokens.length = 0;
      return [];
    },
    () => {
      throw new Error('no');
    },
  ];
  for (answer of unusable) {
    for (const result of sessions.validateMany(tokens)) {
      assert.ok(result instanceof GuardRefusedError, String(answer));
      assert.equal(result.guardError.kind, 'unavailable');
    }
  }
  assert.equal(sessions.activeCount(), 3);
});

test('without a function for batches the guard is asked until it is unavailable', async () => {
  const { guard, sessions } = await start();
  const grants = Array.from({ length: 5 }, () => sessions.create(REQUEST));
  const { revoke } = guard;
  const asked: string[] = [];
  guard.revoke = (handle) => {
    asked.push(handle);
    if (asked.length === 2) {
      throw new GuardError('unavailable', 'down');
    }
    revoke(handle);
  };
  assert.equal(sessions.revokeAllForAgent(AGENT), grants.length);
  assert.equal(asked.length, 2);
  assert.equal(sessions.stats().pendingRevocations, 4);
  guard.revoke = revoke;
  assert.deepEqual(sessions.flushGuardRevocations(), { settled: 4, pending: 0 });
});

test('a byte order mark in a text reaches the component and the guard', async () => {
  const { guard, sessions } = await start();
  const mark = '\ufeff';
  const handles: string[] = [];
  guard.issue = ({ expiresAt }) => ({ token: `${mark}token`, handle: `${mark}handle`, expiresAt });
  guard.revoke = (handle) => {
    handles.push(handle);
  };
  const request: CreateRequest = { ...REQUEST, role: `${mark}worker` };
  const { session, token } = sessions.create(request);
  assert.equal(session.role, request.role);
  assert.equal(token, `${mark}token`);
  sessions.revoke(session.id);
  assert.deepEqual(handles, [`${mark}handle`]);
});

test('only undefined and null confirm a revocation', async () => {
  const { guard, sessions } = await start();
  const revoked = (answer: unknown): boolean => {
    const { session } = sessions.create(REQUEST);
    guard.revoke = () => answer;
    const { guardConfirmed, guardError } = sessions.revoke(session.id);
    assert.equal(guardError?.kind, guardConfirmed ? undefined : 'unavailable');
    return guardConfirmed;
  };
  assert.ok(revoked(undefined));
  assert.ok(revoked(null));
  const others = [false, true, 0, '', { ok: false }, [], new Error('the database is down')];
  for (const answer of others) {
    assert.ok(!revoked(answer), String(answer));
  }
  assert.equal(sessions.stats().pendingRevocations, others.length);
});

test('a Promise within an answer cannot end the process', async () => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown): number => unhandled.push(reason);
  process.on('unhandledRejection', note);
  const rejection = (): Promise<never> => Promise.reject(new Error('nobody awaits it'));
  const guard = new ReplaceableGuard();
  const sessions = await createSessions({
    guard: Object.assign(guard, {
      validateTokens: () => [rejection(), rejection()] as never,
    }),
  });
  const { token } = sessions.create(REQUEST);
  guard.issue = guard.validate = () => ({
    token: rejection(),
    handle: rejection(),
    expiresAt: rejection(),
  });
  for (const call of [() => sessions.create(REQUEST), () => sessions.validate(token)]) {
    assert.equal(guardErrorOf(call).kind, 'unavailable');
  }
  assert.ok(sessions.validateMany([token])[0] instanceof GuardRefusedError);
  await new Promise((resolve) => setTimeout(resolve, 20));
  process.off('unhandledRejection', note);
  assert.deepEqual(unhandled, []);
});
