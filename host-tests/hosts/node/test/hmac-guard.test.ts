/** The reference guard. */

import assert from 'node:assert/strict';
import { createSecretKey } from 'node:crypto';
import { test } from 'node:test';

import {
  ArgumentRangeError,
  ArgumentTypeError,
  GuardError,
  HmacGuard,
  type IssueRequest,
} from 'clawdb-session';

const START = Date.parse('2030-01-01T00:00:00Z');

const REQUEST: IssueRequest = {
  principal: 'agent:7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f',
  task: 'default',
  sessionId: '0a9e0000-0000-4000-8000-000000000001',
  agentId: '7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f',
  workspaceId: '00000000-0000-0000-0000-000000000000',
  role: 'worker',
  scopes: [],
  expiresAt: START + 1_000,
};

function refuses(kind: string, call: () => unknown): void {
  assert.throws(call, (error) => error instanceof GuardError && error.kind === kind);
}

test('a token is valid until it expires or is revoked', () => {
  let now = START;
  const guard = new HmacGuard(new Uint8Array(32).fill(1), { clock: () => now });
  const issued = guard.issueSessionToken(REQUEST);
  const { token, handle } = issued;
  assert.deepEqual(guard.validateToken(token), { handle, expiresAt: REQUEST.expiresAt });
  assert.notEqual(guard.issueSessionToken(REQUEST).handle, handle);
  now = REQUEST.expiresAt;
  refuses('expired', () => guard.validateToken(token));
  now -= 1;
  guard.revokeToken(handle);
  guard.revokeToken(handle);
  refuses('revoked', () => guard.validateToken(token));
});

test('a token that was changed, or is of another secret, is invalid', () => {
  const guard = new HmacGuard(new Uint8Array(32).fill(1), { clock: () => START });
  const other = new HmacGuard(new Uint8Array(32).fill(2), { clock: () => START });
  const { token, handle } = guard.issueSessionToken(REQUEST);
  const later = token.replace(String(REQUEST.expiresAt), String(REQUEST.expiresAt + 1));
  assert.notEqual(later, token);
  const shorter = token.slice(0, -1);
  const forged = ['', '.', handle, `${handle}.`, `${token}=`, shorter, later, ` ${token}`];
  for (const presented of forged) {
    refuses('invalid-token', () => guard.validateToken(presented));
  }
  refuses('invalid-token', () => other.validateToken(token));
  refuses('invalid-token', () => guard.revokeToken('a handle of another guard'));
});

test('every change of one character of a token makes it invalid', () => {
  const guard = new HmacGuard(new Uint8Array(32).fill(1), { clock: () => START });
  const { token } = guard.issueSessionToken(REQUEST);
  for (let index = 0; index < token.length; index += 1) {
    for (const character of 'A0.-') {
      const changed = token.slice(0, index) + character + token.slice(index + 1);
      if (changed !== token) {
        refuses('invalid-token', () => guard.validateToken(changed));
      }
    }
  }
});

test('revocations of expired tokens are dropped, and no others', () => {
  let now = START;
  const guard = new HmacGuard(new Uint8Array(32).fill(1), { clock: () => now });
  const lasting = guard.issueSessionToken({ ...REQUEST, expiresAt: START + 1_000_000 });
  guard.revokeToken(lasting.handle);
  const first = guard.issueSessionToken(REQUEST);
  guard.revokeToken(first.handle);
  now = REQUEST.expiresAt;
  for (let count = 0; count < 2_000; count += 1) {
    const { handle } = guard.issueSessionToken({ ...REQUEST, expiresAt: now + 1 });
    guard.revokeToken(handle);
    now += 1;
  }
  refuses('revoked', () => guard.validateToken(lasting.token));
  // With the clock set back, the token of a dropped revocation is valid again.
  now = START;
  assert.equal(guard.validateToken(first.token).handle, first.handle);
});

test('a secret that is no Uint8Array of 32 bytes is refused', () => {
  assert.throws(() => new HmacGuard(new Uint8Array(31)), ArgumentRangeError);
  const text = 'x'.repeat(40);
  const others = [
    undefined,
    null,
    text,
    40,
    {},
    { length: 40 },
    new Array(40),
    new Array(40).fill(1),
    new ArrayBuffer(0),
    new ArrayBuffer(40),
    new DataView(new ArrayBuffer(40)),
    new Uint16Array(40),
    createSecretKey(text, 'utf8'),
  ];
  for (const secret of others) {
    assert.throws(
      () => new HmacGuard(secret as never),
      (error) => error instanceof ArgumentTypeError && error.argument === 'secret',
      String(secret),
    );
  }
});

test('the secret is copied', () => {
  const secret = new Uint8Array(32).fill(1);
  const guard = new HmacGuard(secret, { clock: () => START });
  const { token, handle } = guard.issueSessionToken(REQUEST);
  secret.fill(0);
  assert.equal(guard.validateToken(token).handle, handle);
});

test('wrong options are refused', () => {
  const secret = new Uint8Array(32).fill(1);
  for (const clock of [7, {}, null]) {
    assert.throws(() => new HmacGuard(secret, { clock: clock as never }), ArgumentTypeError);
  }
  assert.throws(() => new HmacGuard(secret, (() => START) as never), ArgumentTypeError);
  assert.throws(() => new HmacGuard(secret, { clock: () => START / 1_000 }), ArgumentRangeError);
});
