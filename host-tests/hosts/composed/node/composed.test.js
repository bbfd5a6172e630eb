import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';

import { start } from './composed.js';

const AGENT = '0a9e0000-0000-4000-8000-000000000001';
const KEY = Uint8Array.from({ length: 32 }, (_, at) => at);
const REQUEST = { agentId: AGENT, role: 'worker', scopes: ['tool:*'], expiresIn: 60n };

/** Starts an instance with a key. */
async function startWithKey() {
  const composed = await start();
  composed.keys.setKey(KEY);
  return composed;
}

/** Returns what a call throws. */
function refusal(call) {
  try {
    call();
  } catch (error) {
    return error.payload;
  }
  return assert.fail('the call succeeds');
}

test('a session is created, validated and revoked', async () => {
  const { sessions } = await startWithKey();
  const { token } = sessions.create(REQUEST);
  const session = sessions.validate(token);
  assert.equal(session.agentId, AGENT);
  assert.deepEqual(session.scopes, ['tool:*']);
  assert.equal(sessions.revoke(session.id).guardConfirmed, true);
  assert.equal(refusal(() => sessions.validate(token)).tag, 'invalid-token');
  assert.equal(sessions.activeCount(), 0);
});

test('a token is a JSON Web Token that the key signed', async () => {
  const { sessions } = await startWithKey();
  const { session, token } = sessions.create(REQUEST);
  const [header, claims, signature] = token.split('.');
  const code = createHmac('sha256', KEY).update(`${header}.${claims}`).digest('base64url');
  assert.equal(signature, code);
  const decoded = (part) => JSON.parse(Buffer.from(part, 'base64url').toString());
  assert.deepEqual(decoded(header), { alg: 'HS256' });
  assert.equal(decoded(claims).sid, session.id);
});

test('without a key, or with a short one, no session is created', async () => {
  const { keys, sessions } = await start();
  const { tag, val } = refusal(() => sessions.create(REQUEST));
  assert.equal(tag, 'guard');
  assert.equal(val.tag, 'unavailable');
  assert.match(val.val, /set-key/);
  assert.equal(refusal(() => keys.setKey(new Uint8Array(31))), 'too-short');
  assert.equal(refusal(() => sessions.create(REQUEST)).tag, 'guard');
  keys.setKey(KEY);
  sessions.create(REQUEST);
});

test('tokens of a replaced key are valid until it is dropped', async () => {
  const { keys, sessions } = await startWithKey();
  const { session, token } = sessions.create(REQUEST);
  keys.setKey(new Uint8Array(32));
  assert.equal(sessions.validate(token).id, session.id);
  assert.equal(keys.dropPreviousKeys(), 1);
  const { tag, val } = refusal(() => sessions.validate(token));
  assert.deepEqual([tag, val.tag], ['guard', 'invalid-token']);
});
