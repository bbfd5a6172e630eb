/** Runs the example of the README. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

test('the example of the README prints what it says', () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  const example = /```js\n(.*?)```/s.exec(readme)?.[1];
  const printed = /```text\n(.*?)```/s.exec(readme)?.[1];
  assert.ok(example !== undefined && printed !== undefined);
  const folder = new URL('../readme/', import.meta.url);
  mkdirSync(folder, { recursive: true });
  const file = new URL('example.mjs', folder);
  writeFileSync(file, example);
  const output = execFileSync(process.execPath, [fileURLToPath(file)], { encoding: 'utf8' });
  assert.equal(output, printed);
});
