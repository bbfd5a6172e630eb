/** The guard of the page. It signs tokens with HMAC-SHA256, and can be switched off. */

import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';
import { type Claims, type Guard, GuardError } from 'clawdb-session';
import type { IssueRequest, IssuedToken } from 'clawdb-session';

import type { GuardControl, GuardMode, GuardToken } from './backend/backend.js';

/** A handle: a UUID and the expiry. */
const HANDLE = /^[0-9a-f-]{36}\.([0-9]{1,15})$/;
/** How many tokens are remembered before the expired ones are dropped. */
const MIN_SWEEP = 1_024;

interface Issued {
  sessionId: string;
  expiresAt: number;
  revoked: boolean;
}

/**
 * A token is its handle and an HMAC of it, under a key that is random and stays in this object. The
 * guard remembers the handles of the tokens that it has issued until they have expired.
 */
export class PageGuard implements Guard, GuardControl {
  mode: GuardMode = 'answers';
  readonly calls = { issue: 0, validate: 0, revoke: 0 };
  readonly #key = crypto.getRandomValues(new Uint8Array(32));
  readonly #clock: () => number;
  readonly #records = new Map<string, Issued>();
  #sweepAt = MIN_SWEEP;

  constructor(clock: () => number) {
    this.#clock = clock;
  }

  issueSessionToken({ sessionId, expiresAt }: IssueRequest): IssuedToken {
    this.#enter('issue');
    const handle = `${crypto.randomUUID()}.${expiresAt}`;
    this.#records.set(handle, { sessionId, expiresAt, revoked: false });
    if (this.#records.size >= this.#sweepAt) {
      this.#dropExpired();
    }
    return { token: `${handle}.${this.#sign(handle)}`, handle, expiresAt };
  }

  validateToken(token: string): Claims {
    this.#enter('validate');
    const end = token.lastIndexOf('.');
    const handle = token.slice(0, Math.max(end, 0));
    if (!equal(token.slice(end + 1), this.#sign(handle))) {
      throw new GuardError('invalid-token');
    }
    const expiresAt = expiryOf(handle);
    if (expiresAt <= this.#clock()) {
      throw new GuardError('expired');
    }
    if (this.#records.get(handle)?.revoked) {
      throw new GuardError('revoked');
    }
    return { handle, expiresAt };
  }

  revokeToken(handle: string): void {
    this.#enter('revoke');
    const record = this.#records.get(handle);
    if (record === undefined) {
      // Only the handle of an expired token is forgotten.
      expiryOf(handle);
      return;
    }
    record.revoked = true;
  }

  tokens(): GuardToken[] {
    const now = this.#clock();
    return [...this.#records].map(([handle, { sessionId, expiresAt, revoked }]) => ({
      handle,
      sessionId,
      expiresAt,
      state: revoked ? 'revoked' : expiresAt <= now ? 'expired' : 'valid',
    }));
  }

  /** Counts a call. Throws an error unless the guard answers. */
  #enter(name: keyof PageGuard['calls']): void {
    this.calls[name] += 1;
    switch (this.mode) {
      case 'answers':
        return;
      case 'unavailable':
        throw new GuardError('unavailable', 'the guard is switched off');
      case 'refuses':
        throw new GuardError('denied', 'the guard is set to refuse');
    }
  }

  #dropExpired(): void {
    const now = this.#clock();
    for (const [handle, { expiresAt }] of this.#records) {
      if (expiresAt <= now) {
        this.#records.delete(handle);
      }
    }
    this.#sweepAt = Math.max(MIN_SWEEP, 2 * this.#records.size);
  }

  #sign(handle: string): string {
    return bytesToHex(hmac(sha256, this.#key, utf8ToBytes(handle)));
  }
}

/** Returns the expiry that a handle contains. */
function expiryOf(handle: string): number {
  const expiresAt = HANDLE.exec(handle)?.[1];
  if (expiresAt === undefined) {
    throw new GuardError('invalid-token');
  }
  return Number(expiresAt);
}

/** Returns whether two texts are equal, in a time that does not depend on where they differ. */
function equal(presented: string, expected: string): boolean {
  let difference = presented.length ^ expected.length;
  for (let index = 0; index < expected.length; index += 1) {
    difference |= presented.charCodeAt(index) ^ expected.charCodeAt(index);
  }
  return difference === 0;
}
