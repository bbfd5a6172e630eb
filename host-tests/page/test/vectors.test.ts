/** The conformance vectors of the world, in Chromium, on the core modules of the page. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { readVectors } from '../../hosts/node/test/vectors/read-vectors.js';
import type { VectorTools } from './browser/vectors.js';
import { FOLDER, useSite } from './support.js';

const it = useSite();
const VECTORS = pathToFileURL(path.join(FOLDER, '../vectors/'));
const COUNTS = JSON.parse(readFileSync(new URL('COUNTS.json', VECTORS), 'utf8'));

type Tools = { vectorTools: VectorTools };

test('the component answers every vector of its world as expected', async (context) => {
  const page = await it.site.open({ file: 'vectors.html' });
  const loaded: string[] = [];
  page.on('response', (response) => loaded.push(new URL(response.url()).pathname));
  await page.waitForFunction(() => 'vectorTools' in globalThis);
  const replayed = { vectors: 0, exchanges: 0 };
  for (const { file } of readVectors(VECTORS)) {
    await context.test(file, async () => {
      const text = readFileSync(new URL(file, VECTORS), 'utf8');
      replayed.exchanges += await page.evaluate(
        ([file, text]) => (globalThis as unknown as Tools).vectorTools.replay(file, text),
        [file, text] as const,
      );
      replayed.vectors += 1;
    });
  }
  const { vectors, exchanges } = replayed;
  const version = `Chromium ${page.context().browser()?.version()}`;
  console.log(`vectors: ${vectors} with ${exchanges} exchanges replayed on ${version}`);
  assert.deepEqual(replayed, COUNTS['session-sync']);
  assert.ok(loaded.includes('/component.core.wasm'), loaded.join(' '));
});

test('a validate is measured', async () => {
  const page = await it.site.open({ file: 'vectors.html' });
  await page.waitForFunction(() => 'vectorTools' in globalThis);
  assert.equal(await page.evaluate(() => crossOriginIsolated), true);
  const { plain, page: own } = await page.evaluate(() =>
    (globalThis as unknown as Tools).vectorTools.measure(),
  );
  const figures = `plain guard ${plain.toFixed(1)}, guard of the page ${own.toFixed(1)}`;
  console.log(`us per validate in Chromium: ${figures}`);
  assert.ok(plain > 0 && plain < 1_000);
});
