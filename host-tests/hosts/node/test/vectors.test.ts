/** Replays the conformance vectors of the world `session-sync`. */

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { type TestContext, test } from 'node:test';

import { createAsyncSessions, createSessions, hasJspi } from 'clawdb-session';

import { Conversation, type Start } from './vectors/conversation.js';
import { contains, readVectors, replay } from './vectors/vector.js';

const FOLDER = new URL('../../../../vectors/', import.meta.url);

/** Replays each vector, and checks that none was left out. */
async function replayAll(context: TestContext, kind: string, start: Start): Promise<void> {
  const vectors = readVectors(FOLDER).filter(({ world }) => world !== 'session');
  let replayed = 0;
  for (const vector of vectors) {
    await context.test(vector.file, async () => {
      await replay(vector, await Conversation.start(start));
      replayed += 1;
    });
  }
  const expected = vectorsOfWorld();
  const runtime = `Node.js ${process.version}, ${kind}`;
  console.log(`vectors: ${replayed} of ${expected} replayed on ${runtime}`);
  assert.ok(expected > 45);
  assert.equal(replayed, expected);
}

/** Returns how many files of vectors do not name the world `session`. */
function vectorsOfWorld(): number {
  const files = readdirSync(FOLDER).filter((file) => file.endsWith('.jsonl'));
  const heads = files.map((file) => readFileSync(new URL(file, FOLDER), 'utf8').split('\n', 1)[0]);
  return heads.filter((head) => !/"world": *"session"[,}]/.test(head ?? '')).length;
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
