/** A guard that signs tokens with HMAC-SHA256, and needs no server. */

import { createHmac, randomUUID, timingSafeEqual } from 'node:crypto';

import { bytes, object } from './checks.js';
import { ArgumentRangeError } from './errors.js';
import type { Claims, Guard, IssueRequest, IssuedToken } from './guard.js';
import { GuardError } from './guard-error.js';
import { type Clock, checkClock } from './ports.js';

/** The fewest bytes of a secret. */
const MIN_SECRET = 32;
/** A handle: a UUID and the expiry. */
const HANDLE = /^[0-9a-f-]{36}\.([0-9]{1,15})$/;
/** How many revocations are kept before those of expired tokens are dropped. */
const MIN_SWEEP = 1_024;

/**
 * A guard whose tokens contain all that is needed to validate them, except whether they were
 * revoked. A token is its handle and an HMAC of it, so a handle cannot be used as a token.
 *
 * Revocations are kept in the memory of this process until the tokens have expired. The component
 * does not depend on them, because it refuses tokens of ended sessions itself.
 */
export class HmacGuard implements Guard {
  readonly #secret: Uint8Array;
  readonly #clock: Clock;
  /** The expiries of revoked tokens, by handle. */
  readonly #revoked = new Map<string, number>();
  #sweepAt = MIN_SWEEP;

  /**
   * Returns a guard with a copy of the secret. Use the clock of the sessions, so that both agree on
   * what has expired.
   */
  constructor(secret: Uint8Array, options: { clock?: Clock } = {}) {
    this.#secret = bytes(secret, 'secret');
    if (this.#secret.length < MIN_SECRET) {
      const reason = `has ${this.#secret.length} bytes, and needs ${MIN_SECRET}`;
      throw new ArgumentRangeError('secret', reason);
    }
    object(options, 'options', ['clock']);
    this.#clock = options.clock === undefined ? Date.now : options.clock;
    checkClock(this.#clock);
  }

  issueSessionToken(request: IssueRequest): IssuedToken {
    const handle = `${randomUUID()}.${request.expiresAt}`;
    return {
      token: `${handle}.${this.#sign(handle)}`,
      handle,
      expiresAt: request.expiresAt,
    };
  }

  validateToken(token: string): Claims {
    const end = token.lastIndexOf('.');
    const handle = token.slice(0, end);
    if (end < 0 || !equal(token.slice(end + 1), this.#sign(handle))) {
      throw new GuardError('invalid-token');
    }
    const expiresAt = expiryOf(handle);
    if (expiresAt <= this.#clock()) {
      throw new GuardError('expired');
    }
    if (this.#revoked.has(handle)) {
      throw new GuardError('revoked');
    }
    return { handle, expiresAt };
  }

  revokeToken(handle: string): void {
    this.#revoked.set(handle, expiryOf(handle));
    if (this.#revoked.size >= this.#sweepAt) {
      this.#dropExpired();
    }
  }

  #dropExpired(): void {
    const now = this.#clock();
    for (const [handle, expiresAt] of this.#revoked) {
      if (expiresAt <= now) {
        this.#revoked.delete(handle);
      }
    }
    this.#sweepAt = Math.max(MIN_SWEEP, 2 * this.#revoked.size);
  }

  #sign(handle: string): string {
    return createHmac('sha256', this.#secret).update(handle).digest('base64url');
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
  const one = Buffer.from(presented);
  const other = Buffer.from(expected);
  return one.length === other.length && timingSafeEqual(one, other);
}
