/** A wrong argument is refused with the name of the field, and costs nothing. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  ArgumentRangeError,
  ArgumentTypeError,
  type Config,
  type CreateRequest,
  InvalidArgumentError,
  createSessions,
} from 'clawdb-session';

import { AGENT, REQUEST, hmacGuard } from './support/guards.js';

const sessions = await createSessions({ guard: hmacGuard() });

/** Checks that a call is refused with an error of this class, for this argument. */
function refuses(
  type: typeof ArgumentTypeError | typeof ArgumentRangeError,
  argument: string,
  call: () => unknown,
): void {
  assert.throws(call, (error) => {
    assert.ok(error instanceof type, String(error));
    assert.equal(error.argument, argument);
    assert.ok(error.message.startsWith(argument), error.message);
    return true;
  });
}

/** Creates a session with a value of any type in a field. */
function createWith(field: string, value: unknown): unknown {
  return sessions.create({ ...REQUEST, [field]: value } as CreateRequest);
}

test('a value of a wrong type is refused with the name of the argument', () => {
  for (const value of [undefined, null, 7, 7n, {}, [], Symbol('x'), new String('x')]) {
    refuses(ArgumentTypeError, 'token', () => sessions.validate(value as string));
    refuses(ArgumentTypeError, 'agentId', () => createWith('agentId', value));
    refuses(ArgumentTypeError, 'sessionId', () => sessions.get(value as string));
  }
  for (const value of ['7', true, {}, [7]]) {
    refuses(ArgumentTypeError, 'expiresIn', () => createWith('expiresIn', value));
    refuses(ArgumentTypeError, 'maxUses', () => createWith('maxUses', value));
    refuses(ArgumentTypeError, 'since', () => sessions.pollEvents(value as number, 1));
  }
  refuses(ArgumentTypeError, 'maxUses', () => createWith('maxUses', 7n));
  refuses(ArgumentTypeError, 'scopes', () => createWith('scopes', 'memory:read'));
  refuses(ArgumentTypeError, 'scopes[1]', () => createWith('scopes', ['a', 7]));
  refuses(ArgumentTypeError, 'scopes[0]', () => createWith('scopes', new Array(2)));
  refuses(ArgumentTypeError, 'request', () => sessions.create(undefined as never));
  refuses(ArgumentTypeError, 'request', () => createWith('expires_in', 60));
  refuses(ArgumentTypeError, 'tokens[0]', () => sessions.validateMany([7 as never]));
  refuses(ArgumentTypeError, 'page', () => sessions.listForAgent(AGENT, 7 as never));
  for (const filter of [undefined, null, 'all', {}, { role: 'a', root: 'b' }]) {
    refuses(ArgumentTypeError, 'filter', () => sessions.revokeAll(filter as never));
  }
  refuses(ArgumentTypeError, 'filter', () => sessions.revokeAll({ agent: AGENT } as never));
  const keys: Config[] = [{ stateKey: '00' as never }, { stateKey: [1, 2] as never }];
  for (const config of keys) {
    refuses(ArgumentTypeError, 'stateKey', () => sessions.configure(config));
  }
  refuses(ArgumentTypeError, 'agentOverflow', () =>
    sessions.configure({ agentOverflow: 'evict' as never }),
  );
});

test('a number that the contract cannot represent is refused', () => {
  for (const value of [-1, 0.5, NaN, Infinity, 2 ** 53, -1n, 2n ** 64n]) {
    refuses(ArgumentRangeError, 'expiresIn', () => createWith('expiresIn', value));
    refuses(ArgumentRangeError, 'since', () => sessions.changes(value, 1));
  }
  for (const value of [-1, 0.5, NaN, Infinity, 2 ** 32 + 1]) {
    refuses(ArgumentRangeError, 'maxUses', () => createWith('maxUses', value));
    refuses(ArgumentRangeError, 'limit', () => sessions.pollEvents(0, value));
    refuses(ArgumentRangeError, 'limit', () => sessions.pruneExpired(value));
  }
});

test('a number within the type and outside its bounds is the component to refuse', () => {
  const expiresIn: (number | bigint)[] = [0, Number.MAX_SAFE_INTEGER, 2n ** 64n - 1n];
  for (const value of expiresIn) {
    assert.throws(
      () => createWith('expiresIn', value),
      (error) => error instanceof InvalidArgumentError && error.field === 'expiresIn',
    );
  }
  assert.deepEqual(sessions.pollEvents(2n ** 64n - 1n, 1).events, []);
});

test('a text with a lone surrogate or of a megabyte is refused', () => {
  const long = 'x'.repeat(2 ** 20 + 1);
  const calls: [string, () => unknown][] = [
    ['token', () => sessions.validate(long)],
    ['token', () => sessions.validate('\ud800')],
    ['role', () => createWith('role', 'a\udc00')],
    ['metadata', () => createWith('metadata', long)],
    ['scopes', () => createWith('scopes', new Array(2 ** 18).fill(''))],
    ['tokens', () => sessions.validateMany(new Array(17).fill(long.slice(1)))],
    ['stateKey', () => sessions.configure({ stateKey: new Uint8Array(2 ** 20 + 1) })],
  ];
  for (const [field, call] of calls) {
    assert.throws(call, (error) => {
      assert.ok(error instanceof InvalidArgumentError, String(error));
      assert.equal(error.field, field);
      return true;
    });
  }
});

test('a malformed token of a batch has an error, and the others have their sessions', async () => {
  const isolated = await createSessions({ guard: hmacGuard() });
  const { session, token } = isolated.create(REQUEST);
  const long = 'x'.repeat(2 ** 20 + 1);
  const results = isolated.validateMany([token, '\ud800', long, token, '']);
  const fields = results.map((result) => {
    if (result instanceof InvalidArgumentError) {
      return result.field;
    }
    return 'id' in result ? result.id : result.kind;
  });
  assert.deepEqual(fields, [session.id, 'tokens[1]', 'tokens[2]', session.id, 'invalid-token']);
});

test('arguments are read once, before the component runs', async () => {
  const isolated = await createSessions({ guard: hmacGuard() });
  const request = {
    role: 'worker',
    get agentId(): string {
      // A call that runs before this one, and not inside it.
      isolated.stats();
      return AGENT;
    },
    get scopes(): string[] {
      throw new Error('it cannot be read');
    },
  };
  assert.throws(() => isolated.create(request), /it cannot be read/);
  assert.equal(isolated.activeCount(), 0);
  assert.equal(isolated.create(REQUEST).session.agentId, AGENT);
});

test('absent values are undefined, and null counts as absent', () => {
  const { session } = sessions.create({
    agentId: AGENT.toUpperCase(),
    role: 'worker',
    taskType: undefined,
    maxUses: null as never,
  });
  assert.equal(session.agentId, AGENT);
  assert.deepEqual(session.scopes, []);
  assert.equal(session.metadata, '{}');
  for (const value of [session.taskType, session.parent, session.usesLeft]) {
    assert.equal(value, undefined);
  }
  assert.equal(typeof session.createdAt, 'number');
  assert.equal(session.expiresAt - session.createdAt, 3_600_000);
  assert.equal(typeof sessions.stats().eventRun, 'bigint');
});

test('wrong options are refused', async () => {
  const guard = hmacGuard();
  const wrong: [string, object][] = [
    ['guard', {}],
    ['guard', { guard: 7 }],
    ['guard.issueSessionToken', { guard: {} }],
    ['guard.validateTokens', { guard: Object.assign(hmacGuard(), { validateTokens: 7 }) }],
    ['clock', { guard, clock: 7 }],
    ['entropy', { guard, entropy: {} }],
  ];
  for (const [argument, options] of wrong) {
    await assert.rejects(createSessions(options as never), (error) => {
      assert.ok(error instanceof ArgumentTypeError, String(error));
      assert.equal(error.argument, argument);
      return true;
    });
  }
  await assert.rejects(
    createSessions({ guard, config: { maxDepth: 17 } }),
    (error) => error instanceof InvalidArgumentError && error.field === 'maxDepth',
  );
});
