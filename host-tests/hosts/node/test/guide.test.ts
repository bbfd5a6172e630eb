/** The guard of `host-tests/guides/write-a-guard.md`: what it prints, and its errors. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { type Guard, createSessions } from 'clawdb-session';

const GUIDES = new URL('../../../../guides/', import.meta.url);
const AGENT = '0a9e0000-0000-4000-8000-000000000001';
const PROGRAM = readFileSync(new URL('guard.mjs', GUIDES), 'utf8');

/** Returns a copy of the program, beside which Node.js finds the package. */
function copy(): URL {
  const folder = new URL('../guide/', import.meta.url);
  mkdirSync(folder, { recursive: true });
  const file = new URL('guard.mjs', folder);
  writeFileSync(file, PROGRAM);
  return file;
}

test('the guide contains the program and what it prints', () => {
  const guide = readFileSync(new URL('write-a-guard.md', GUIDES), 'utf8');
  assert.ok(guide.includes(`\n\`\`\`js\n${PROGRAM}\`\`\`\n`));
  const printed = /```text\n(.*?)```/s.exec(guide)?.[1];
  const output = execFileSync(process.execPath, [fileURLToPath(copy())], { encoding: 'utf8' });
  assert.equal(output, printed);
});

test('its guard refuses wrong, expired and revoked tokens', async () => {
  interface TableGuard extends Guard {
    rows: Map<string, unknown>;
    dropExpired(): void;
  }
  type Module = { TableGuard: new (clock: () => number) => TableGuard };
  const { TableGuard } = (await import(copy().href)) as Module;
  let now = Date.parse('2030-01-01T00:00:00Z');
  const clock = (): number => now;
  const guard = new TableGuard(clock);
  const sessions = await createSessions({ guard, clock });

  const first = sessions.create({ agentId: AGENT, role: 'worker', expiresIn: 60 }).token;
  const { handle } = guard.validateToken(first);
  for (const wrong of ['', '.', handle, `${handle}.${'0'.repeat(64)}`, `${first}0`, `${first}.`]) {
    assert.throws(() => guard.validateToken(wrong), { kind: 'invalid-token' }, wrong);
  }
  now += 60_000;
  assert.throws(() => guard.validateToken(first), { kind: 'expired' });
  guard.dropExpired();
  assert.equal(guard.rows.size, 0);

  const second = sessions.create({ agentId: AGENT, role: 'worker' }).token;
  sessions.revokeAllForAgent(AGENT);
  assert.throws(() => guard.validateToken(second), { kind: 'invalid-token' });
});
