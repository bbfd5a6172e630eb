/** The random source, as the component calls it. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { randomBytes } from '../src/ports.js';

test('a random source is asked for at most 4,096 bytes', () => {
  const asked: number[] = [];
  const source = randomBytes((length) => {
    asked.push(length);
    return new Uint8Array(length);
  });
  for (const length of [0n, 1n, 4_095n, 4_096n, 4_097n, 2n ** 32n, 2n ** 64n - 1n]) {
    source(length);
  }
  assert.deepEqual(asked, [0, 1, 4_095, 4_096, 4_096, 4_096, 4_096]);
});

test('bytes that were not asked for are cut, and the others are copied', () => {
  const bytes = Uint8Array.from({ length: 5_000 }, (_, index) => index);
  const source = randomBytes(() => bytes);
  const answer = source(3n);
  assert.deepEqual(answer, Uint8Array.of(0, 1, 2));
  assert.equal(source(5_000n).length, 4_096);
  bytes.fill(9);
  assert.deepEqual(answer, Uint8Array.of(0, 1, 2));
});
