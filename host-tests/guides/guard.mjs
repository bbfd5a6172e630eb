// A guard with a table of its tokens, and a host that uses it.

import { createHash, randomBytes, randomUUID } from 'node:crypto';

import { GuardError, SessionError, createSessions } from 'clawdb-session';

/**
 * A guard whose tokens are `<handle>.<secret>`. Its table has a hash of each token, so the table
 * is of no use to a thief.
 */
export class TableGuard {
  rows = new Map();

  /** Returns a guard without tokens. Its clock must be the one of the component. */
  constructor(clock = Date.now) {
    this.clock = clock;
  }

  issueSessionToken({ expiresAt }) {
    const handle = randomUUID();
    const token = `${handle}.${randomBytes(32).toString('hex')}`;
    this.rows.set(handle, { token: hash(token), expiresAt });
    return { token, handle, expiresAt };
  }

  validateToken(token) {
    const [handle] = token.split('.', 1);
    const row = this.rows.get(handle);
    // The time of this comparison tells something about the hash, but not about the token.
    if (row === undefined || row.token !== hash(token)) {
      throw new GuardError('invalid-token');
    }
    if (row.expiresAt <= this.clock()) {
      throw new GuardError('expired');
    }
    return { handle, expiresAt: row.expiresAt };
  }

  revokeToken(handle) {
    this.rows.delete(handle);
  }

  /** Drops the rows of tokens that have expired. A host calls it regularly. */
  dropExpired() {
    const now = this.clock();
    for (const [handle, { expiresAt }] of this.rows) {
      if (expiresAt <= now) {
        this.rows.delete(handle);
      }
    }
  }
}

function hash(token) {
  return createHash('sha256').update(token).digest('hex');
}

const guard = new TableGuard();
const sessions = await createSessions({ guard });

const agentId = '7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f';
const { token } = sessions.create({ agentId, role: 'researcher', scopes: ['memory:read'] });
const session = sessions.validate(token);
console.log(`${session.agentId} may ${session.scopes.join(' and ')}`);

// The component asks the guard to revoke the tokens of the sessions that it ends.
const ended = sessions.revokeAllForAgent(agentId);
console.log(`${ended} session ended; the guard has ${guard.rows.size} tokens`);
try {
  sessions.validate(token);
} catch (error) {
  if (!(error instanceof SessionError)) {
    throw error;
  }
  console.log(`the token now: ${error.kind}`);
}
