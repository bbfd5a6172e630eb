/** Replays the conformance vectors in the browser, on the modules that the page loads. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { readVectors } from '../../hosts/node/test/vectors/read-vectors.js';
import { Bench } from './browser.js';
import type { VectorTools } from './browser/vectors.js';

const FOLDER = new URL('../../vectors/', import.meta.url);
const COUNTS = JSON.parse(readFileSync(new URL('COUNTS.json', FOLDER), 'utf8'));

let bench: Bench;
before(async () => (bench = await Bench.start()));
after(() => bench.end());

test('the component answers every vector of its world as expected in Chromium', async () => {
  await bench.open('vectors.html', async (page) => {
    await page.waitForFunction(() => 'vectorTools' in globalThis);
    const replayed = { vectors: 0, exchanges: 0 };
    for (const { file } of readVectors(FOLDER)) {
      const text = readFileSync(new URL(file, FOLDER), 'utf8');
      replayed.exchanges += await page.evaluate(
        ([file, text]) =>
          (globalThis as unknown as { vectorTools: VectorTools }).vectorTools.replay(file, text),
        [file, text] as const,
      );
      replayed.vectors += 1;
    }
    const { vectors, exchanges } = replayed;
    console.log(`vectors: ${vectors} with ${exchanges} exchanges in Chromium ${bench.version()}`);
    assert.deepEqual(replayed, COUNTS['session-sync']);
    const micros = await page.evaluate(() =>
      (globalThis as unknown as { vectorTools: VectorTools }).vectorTools.measure(),
    );
    console.log(`validate: ${micros.plain.toFixed(1)} us, ${micros.page.toFixed(1)} us with HMAC`);
  });
});
