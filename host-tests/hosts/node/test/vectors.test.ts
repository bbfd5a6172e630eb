/** Replays the conformance vectors of the world `session-sync`. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';

import { HmacGuard, createAsyncSessions, createSessions, hasJspi } from 'clawdb-session';

import { Conversation, type Subject } from './vectors/conversation.js';
import { readVectors } from './vectors/read-vectors.js';
import { contains, replay } from './vectors/vector.js';

const FOLDER = new URL('../../../../vectors/', import.meta.url);

/** How many vectors each world has, and how many exchanges they have in all. */
const COUNTS = JSON.parse(readFileSync(new URL('COUNTS.json', FOLDER), 'utf8'));

/** Replays each vector, and checks that none was left out or has lost an exchange. */
async function replayAll(
  context: TestContext,
  kind: string,
  start: Subject['start'],
): Promise<void> {
  const guard: Subject['guard'] = (clock) => new HmacGuard(new Uint8Array(32).fill(1), { clock });
  const vectors = readVectors(FOLDER);
  const replayed = { vectors: 0, exchanges: 0 };
  for (const vector of vectors) {
    await context.test(vector.file, async () => {
      replayed.exchanges += await replay(vector, await Conversation.start({ start, guard }));
      replayed.vectors += 1;
    });
  }
  const runtime = `Node.js ${process.version}, ${kind}`;
  const { vectors: count, exchanges } = replayed;
  console.log(`vectors: ${count} with ${exchanges} exchanges replayed on ${runtime}`);
  assert.deepEqual(replayed, COUNTS['session-sync']);
}

test('the component answers every vector of its world as expected', async (context) => {
  await replayAll(context, 'createSessions', createSessions);
});

if (hasJspi()) {
  test('it does so with a guard that may wait', async (context) => {
    await replayAll(context, 'createAsyncSessions', createAsyncSessions);
  });
}

test('an answer with another value does not contain the expected one', () => {
  const holds = (answer: string, expected: string): boolean =>
    contains(JSON.parse(answer), JSON.parse(expected), new Map());
  assert.ok(holds('{"a":1,"b":[{"c":2,"d":3}]}', '{"b":[{"c":2}]}'));
  assert.ok(holds('[1,1]', '["$x","$x"]'));
  assert.ok(holds('[null,null]', '["$x","$x"]'));
  const different = [
    ['{"a":1}', '{"a":2}'],
    ['{"a":1}', '{"b":"$*"}'],
    ['{"ok":null}', '{"err":{"kind":"conflict"}}'],
    ['[1,2]', '[1]'],
    ['[1,2]', '["$x","$x"]'],
    ['[null,1]', '["$x","$x"]'],
    ['1', '"1"'],
  ] as const;
  for (const [answer, expected] of different) {
    assert.ok(!holds(answer, expected), `${answer} contains ${expected}`);
  }
});
