/** A caller that has used up the stack gets a RangeError, and no session is lost. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { type Sessions, createSessions } from 'clawdb-session';

import { AGENT, REQUEST, hmacGuard } from './support/guards.js';

/** Calls the sessions at the end of the stack, and then with less and less of it in use. */
function callAtEveryDepth(sessions: Sessions, call: () => unknown): { ok: number; failed: number } {
  const calls = { ok: 0, failed: 0 };
  const descend = (): void => {
    try {
      descend();
    } catch (error) {
      assert.ok(error instanceof RangeError);
    }
    if (calls.ok < 100) {
      try {
        call();
        calls.ok += 1;
      } catch (error) {
        calls.failed += 1;
        if (!(error instanceof RangeError) || sessions.ended !== undefined) {
          throw error;
        }
      }
    }
  };
  descend();
  return calls;
}

// The code of the component is compiled when it is called first, which needs more of the stack. So
// the first of these tests runs in a process that has not called the component.
for (const round of ['not yet compiled', 'compiled']) {
  test(`an overflow of the stack by the caller costs no session, with code ${round}`, async () => {
    const sessions = await createSessions({
      guard: hmacGuard(),
      config: { stateKey: new Uint8Array(32).fill(1) },
    });
    const created = callAtEveryDepth(sessions, () => sessions.create(REQUEST));
    assert.ok(created.failed > 0, JSON.stringify(created));
    const { token } = sessions.create(REQUEST);
    for (const call of [
      () => sessions.validate(token),
      () => sessions.listForAgent(AGENT),
      () => sessions.changes(0, 1_000),
      () => sessions.revokeAll({ role: 'nobody' }),
    ]) {
      const { failed } = callAtEveryDepth(sessions, call);
      assert.ok(failed > 0);
    }
    assert.equal(sessions.validate(token).agentId, AGENT);
    assert.equal(sessions.activeCount(), created.ok + 1);
  });
}
