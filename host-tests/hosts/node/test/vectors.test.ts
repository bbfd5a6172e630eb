/** Replays the conformance vectors of the world `session-sync`. */

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

import { Conversation } from './vectors/conversation.js';
import { contains, readVectors, replay } from './vectors/vector.js';

const FOLDER = new URL('../../../../vectors/', import.meta.url);

test('the component answers every vector of its world as expected', async (context) => {
  const vectors = readVectors(FOLDER).filter(({ world }) => world !== 'session');
  let replayed = 0;
  for (const vector of vectors) {
    await context.test(vector.file, async () => {
      await replay(vector, await Conversation.start());
      replayed += 1;
    });
  }
  const files = readdirSync(FOLDER).filter((file) => file.endsWith('.jsonl'));
  const heads = files.map((file) => readFileSync(new URL(file, FOLDER), 'utf8').split('\n', 1)[0]);
  const expected = heads.filter((head) => !/"world": *"session"[,}]/.test(head ?? '')).length;
  console.log(`vectors: ${replayed} of ${expected} replayed on Node.js ${process.version}`);
  assert.ok(expected > 45);
  assert.equal(replayed, expected);
});

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
