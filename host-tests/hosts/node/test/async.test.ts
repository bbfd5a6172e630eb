/** A guard that may wait, where the runtime has JSPI. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import {
  ArgumentRangeError,
  ArgumentTypeError,
  type AsyncGuard,
  type AsyncSessions,
  type Claims,
  GuardBroken,
  GuardError,
  GuardRefusedError,
  HostError,
  InvalidTokenError,
  type IssueRequest,
  type IssuedToken,
  createAsyncSessions,
  hasJspi,
} from 'clawdb-session';

import { AGENT, REQUEST, foreignExceptions, hmacGuard } from './support/guards.js';

const DEADLINE = 50;

/** A guard that waits before it answers, and whose functions the test can replace. */
class WaitingGuard implements AsyncGuard {
  readonly inner = hmacGuard();
  issue = async (request: IssueRequest): Promise<unknown> => {
    await sleep(1);
    return this.inner.issueSessionToken(request);
  };
  validate = async (token: string, _signal: AbortSignal): Promise<unknown> => {
    await sleep(1);
    return this.inner.validateToken(token);
  };
  revoke = async (handle: string): Promise<unknown> => {
    await sleep(1);
    return this.inner.revokeToken(handle);
  };

  async issueSessionToken(request: IssueRequest): Promise<IssuedToken> {
    return (await this.issue(request)) as IssuedToken;
  }

  async validateToken(token: string, signal: AbortSignal): Promise<Claims> {
    return (await this.validate(token, signal)) as Claims;
  }

  async revokeToken(handle: string): Promise<void> {
    await this.revoke(handle);
  }
}

async function start(): Promise<{ guard: WaitingGuard; sessions: AsyncSessions }> {
  const guard = new WaitingGuard();
  return { guard, sessions: await createAsyncSessions({ guard, guardDeadline: DEADLINE }) };
}

/** Returns the error of the guard that a call reports. */
async function guardErrorOf(call: Promise<unknown>): Promise<GuardError> {
  const error = await call.then(
    () => assert.fail('the call succeeded'),
    (error: unknown) => error,
  );
  assert.ok(error instanceof GuardRefusedError, String(error));
  return error.guardError;
}

test('Node.js 25 and newer have JSPI', () => {
  const [major] = process.versions.node.split('.');
  assert.ok(hasJspi() || Number(major) < 25);
});

if (hasJspi()) {
  test('a guard that waits is asked as one that answers at once', async () => {
    const { sessions } = await start();
    const { session, token } = await sessions.create(REQUEST);
    assert.equal((await sessions.validate(token)).id, session.id);
    const results = await sessions.validateMany([token, 'x', token]);
    assert.deepEqual(
      results.map((result) => ('id' in result ? result.id : result.kind)),
      [session.id, 'invalid-token', session.id],
    );
    const rotated = await sessions.rotate(token);
    await assert.rejects(sessions.validate(token), InvalidTokenError);
    const revocation = await sessions.revokeByToken(rotated.token);
    assert.equal(revocation.guardConfirmed, true);
    assert.equal(await sessions.activeCount(), 0);
  });

  test('calls run one after the other, in their order', async () => {
    const { sessions } = await start();
    const order: string[] = [];
    const note = (name: string) => (): number => order.push(name);
    const creates = ['a', 'b', 'c'].map((name) => sessions.create(REQUEST).then(note(name)));
    const count = sessions.activeCount().then((active) => order.push(`${active} active`));
    await Promise.all([...creates, count]);
    assert.deepEqual(order, ['a', 'b', 'c', '3 active']);
  });

  test('a guard that hangs is unavailable at the deadline, and a revoke waits for it', async () => {
    const { guard, sessions } = await start();
    const { session, token } = await sessions.create(REQUEST);
    const aborted: unknown[] = [];
    guard.validate = (_token, signal) => {
      signal.addEventListener('abort', () => aborted.push(signal.reason));
      return new Promise(() => {});
    };
    const began = performance.now();
    const validation = guardErrorOf(sessions.validate(token));
    const revocation = await sessions.revoke(session.id);
    const took = performance.now() - began;
    assert.equal((await validation).reason, `the guard did not answer within ${DEADLINE} ms`);
    assert.equal(revocation.guardConfirmed, true);
    assert.ok(took >= DEADLINE - 1, `the revoke took ${took} ms`);
    assert.equal(aborted.length, 1);
    assert.ok(aborted[0] instanceof GuardError);
  });

  test('a listener of the signal that throws or rejects cannot end the process', async () => {
    const { guard, sessions } = await start();
    const { token } = await sessions.create(REQUEST);
    const uncaught: unknown[] = [];
    const note = (reason: unknown): number => uncaught.push(reason);
    process.on('uncaughtException', note);
    process.on('unhandledRejection', note);
    const called: string[] = [];
    const fail = (name: string) => (): never => {
      called.push(name);
      throw new Error('an exception that nobody catches');
    };
    const removed = fail('removed');
    const { validate } = guard;
    guard.validate = (_token, signal) => {
      signal.addEventListener('abort', fail('function'));
      signal.addEventListener('abort', { handleEvent: fail('object') });
      signal.addEventListener('abort', async () => fail('async')());
      signal.addEventListener('abort', fail('once'), { once: true });
      signal.addEventListener('abort', removed);
      signal.removeEventListener('abort', removed);
      signal.onabort = removed;
      signal.onabort = fail('onabort');
      AbortSignal.any([signal]).addEventListener('abort', () => called.push('any'));
      return sleep(10 * DEADLINE, undefined, { signal });
    };
    assert.equal((await guardErrorOf(sessions.validate(token))).kind, 'unavailable');
    await sleep(20);
    process.off('uncaughtException', note);
    process.off('unhandledRejection', note);
    assert.deepEqual(uncaught, []);
    assert.deepEqual(called.sort(), ['any', 'async', 'function', 'object', 'onabort', 'once']);
    guard.validate = validate;
    assert.equal((await sessions.validate(token)).agentId, AGENT);
  });

  test('an answer after the deadline is ignored', async () => {
    const { guard, sessions } = await start();
    const { token } = await sessions.create(REQUEST);
    const unhandled: unknown[] = [];
    const note = (reason: unknown): number => unhandled.push(reason);
    process.on('unhandledRejection', note);
    const { validate } = guard;
    guard.validate = async () => {
      await sleep(2 * DEADLINE);
      throw new Error('too late');
    };
    assert.equal((await guardErrorOf(sessions.validate(token))).kind, 'unavailable');
    guard.validate = validate;
    assert.equal((await sessions.validate(token)).agentId, AGENT);
    await sleep(2 * DEADLINE);
    process.off('unhandledRejection', note);
    assert.deepEqual(unhandled, []);
  });

  test('2,000 rejections of the guard are answers, and the session stays valid', async () => {
    const { guard, sessions } = await start();
    const { token } = await sessions.create(REQUEST);
    const { validate } = guard;
    guard.validate = async () => {
      throw new Error('the database is down');
    };
    for (let call = 0; call < 2_000; call += 1) {
      assert.equal((await guardErrorOf(sessions.validate(token))).kind, 'unavailable');
    }
    guard.validate = validate;
    assert.equal((await sessions.validate(token)).agentId, AGENT);
  });

  test('anything that a function throws counts as unavailable', async () => {
    const { guard, sessions } = await start();
    const { issue, validate, revoke } = guard;
    for (const [name, thrown] of foreignExceptions()) {
      const { session, token } = await sessions.create(REQUEST);
      guard.issue = guard.validate = guard.revoke = () => {
        throw thrown;
      };
      assert.equal((await guardErrorOf(sessions.create(REQUEST))).kind, 'unavailable', name);
      assert.equal((await guardErrorOf(sessions.validate(token))).kind, 'unavailable', name);
      const revocation = await sessions.revoke(session.id);
      assert.equal(revocation.guardError?.kind, 'unavailable', name);
      Object.assign(guard, { issue, validate, revoke });
    }
  });

  test('a guard that calls the sessions gets an error, also after it has waited', async () => {
    const { guard, sessions } = await start();
    const { token } = await sessions.create(REQUEST);
    const { validate } = guard;
    for (const wait of [0, 5]) {
      guard.validate = async () => {
        await sleep(wait);
        return sessions.get(AGENT);
      };
      const error = await guardErrorOf(sessions.validate(token));
      assert.match(error.reason ?? '', /has called the sessions/);
      assert.ok(error.cause instanceof HostError);
      assert.equal(error.cause.kind, 'reentrant');
    }
    // Work that the guard began may call the sessions when the guard has answered.
    let later: Promise<number> | undefined;
    guard.validate = async (presented) => {
      later = sleep(10).then(() => sessions.activeCount());
      return guard.inner.validateToken(presented);
    };
    await sessions.validate(token);
    assert.equal(await later, 1);
    guard.validate = validate;
    assert.equal((await sessions.validate(token)).agentId, AGENT);
  });

  test('a batch asks for 16 items at a time, until one is unavailable', async () => {
    const { guard, sessions } = await start();
    for (let created = 0; created < 40; created += 1) {
      await sessions.create(REQUEST);
    }
    let running = 0;
    let most = 0;
    let asked = 0;
    const { revoke } = guard;
    guard.revoke = async (handle) => {
      asked += 1;
      running += 1;
      most = Math.max(most, running);
      await revoke(handle);
      running -= 1;
    };
    await sessions.revokeAllForAgent(AGENT);
    assert.deepEqual([asked, most], [40, 16]);
    assert.equal((await sessions.stats()).pendingRevocations, 0);

    for (let created = 0; created < 40; created += 1) {
      await sessions.create(REQUEST);
    }
    asked = 0;
    guard.revoke = async () => {
      asked += 1;
      await sleep(1);
      throw new GuardError('unavailable', 'down');
    };
    await sessions.revokeAllForAgent(AGENT);
    assert.equal(asked, 16);
    assert.equal((await sessions.stats()).pendingRevocations, 40);
  });

  test('a guard can have functions for batches', async () => {
    const inner = hmacGuard();
    let answer: (tokens: string[]) => unknown = async (tokens) =>
      tokens.map((token) => inner.validateToken(token));
    const sessions = await createAsyncSessions({
      guard: Object.assign(hmacGuard(), {
        issueSessionToken: (request: IssueRequest) => inner.issueSessionToken(request),
        validateTokens: (tokens: string[]) => answer(tokens) as Claims[],
      }),
      guardDeadline: DEADLINE,
    });
    const { token } = await sessions.create(REQUEST);
    const [valid] = await sessions.validateMany([token]);
    assert.ok(valid !== undefined && 'id' in valid);
    const unusable: ((tokens: string[]) => unknown)[] = [
      async () => [],
      async (tokens) => tokens.map(() => Promise.reject(new Error('nobody awaits it'))),
      () => new Promise(() => {}),
    ];
    for (answer of unusable) {
      const [result] = await sessions.validateMany([token]);
      assert.ok(result instanceof GuardRefusedError);
      assert.equal(result.guardError.kind, 'unavailable');
    }
  });

  test('a fatal error of the guard ends the instance, and calls that wait fail', async () => {
    const { guard, sessions } = await start();
    const { token } = await sessions.create(REQUEST);
    guard.validate = async () => {
      throw new GuardBroken('the key is compromised');
    };
    const isTrap = (error: unknown): boolean =>
      error instanceof HostError && error.kind === 'trap';
    const calls = [sessions.validate(token), sessions.activeCount()];
    for (const call of calls) {
      await assert.rejects(call, isTrap);
    }
    assert.ok(isTrap(sessions.ended));
  });

  test('close refuses the calls that have not begun, and the others end', async () => {
    const { sessions } = await start();
    const { token } = await sessions.create(REQUEST);
    const begun = sessions.validate(token);
    const waiting = sessions.validate(token);
    await sleep(0);
    sessions.close();
    assert.equal((await begun).agentId, AGENT);
    await assert.rejects(
      waiting,
      (error) => error instanceof HostError && error.kind === 'closed',
    );
  });

  test('a call that has waited too long for others is busy and takes no effect', async () => {
    const guard = new WaitingGuard();
    const options = { guard, guardDeadline: 4 * DEADLINE, busyAfter: DEADLINE };
    const sessions = await createAsyncSessions(options);
    const { session, token } = await sessions.create(REQUEST);
    let asked = 0;
    const { validate } = guard;
    guard.validate = () => {
      asked += 1;
      return new Promise(() => {});
    };
    const first = guardErrorOf(sessions.validate(token));
    const waiting = Array.from({ length: 100 }, () => sessions.validate(token));
    const began = performance.now();
    const results = await Promise.allSettled([...waiting, sessions.revoke(session.id)]);
    const took = performance.now() - began;
    assert.ok(took < 4 * DEADLINE, `the calls waited for ${took} ms`);
    for (const result of results) {
      assert.ok(result.status === 'rejected' && result.reason instanceof HostError);
      assert.equal(result.reason.kind, 'busy');
      assert.equal(result.reason.message, `calls before this one took longer than ${DEADLINE} ms`);
    }
    assert.match((await first).reason ?? '', /did not answer within/);
    guard.validate = validate;
    assert.equal((await sessions.validate(token)).id, session.id);
    assert.equal(asked, 1);
  });

  test('a timeout that setTimeout cannot wait for is refused', async () => {
    const guard = hmacGuard();
    for (const name of ['guardDeadline', 'busyAfter']) {
      for (const millis of [0, -1, NaN, 2 ** 31]) {
        const started = createAsyncSessions({ guard, [name]: millis });
        await assert.rejects(started, ArgumentRangeError);
      }
      await assert.rejects(createAsyncSessions({ guard, [name]: '5' }), ArgumentTypeError);
    }
  });
} else {
  test('without JSPI there is a clear error', async () => {
    await assert.rejects(createAsyncSessions({ guard: hmacGuard() }), (error) => {
      assert.ok(error instanceof HostError);
      assert.equal(error.kind, 'unsupported');
      assert.match(error.message, /JSPI/);
      return true;
    });
  });
}
