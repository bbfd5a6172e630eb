/** Takes the screenshots of the README: `node build/test/screenshots.js`. */

import assert from 'node:assert/strict';
import { mkdirSync, statSync } from 'node:fs';
import path from 'node:path';

import type { Page } from 'playwright-core';

import { answered, button, field, figure, guardMode, loadExample, selectSession } from './steps.js';
import { FOLDER, Site } from './support.js';

const FOLDER_OF_SCREENSHOTS = path.join(FOLDER, 'screenshots');
const MAX_BYTES = 200_000;

/** Makes the calls that the screenshots show. */
async function prepare(page: Page): Promise<void> {
  await loadExample(page);
  await selectSession(page, /^notifier/);
  await button(page, 'Steal token').click();
  await button(page, 'Rotate').click();
  await answered(page, 'token of generation 1');
  await button(page, 'Rotate the stolen token of notifier of Echo').click();
  await answered(page, 'rotate', 'invalid-token');
  await selectSession(page, /^deployer/);
  await button(page, 'Validate').click();
  await answered(page, '2 uses left');
  await guardMode(page, 'Unavailable').check();
  await selectSession(page, /^builder/);
  await button(page, 'Revoke').click();
  await figure(page, 'Pending revocations', 1);
  await guardMode(page, 'Answers').check();
  await button(page, 'Move the clock forward, +1 min').click();
  await selectSession(page, /^researcher/);
  await field(page, 'Scope to authorize').fill('memory:write');
  await button(page, 'Authorize').click();
  await answered(page, 'scope-denied');
}

const site = await Site.start();
mkdirSync(FOLDER_OF_SCREENSHOTS, { recursive: true });
for (const [name, scheme, width, height] of [
  ['light', 'light', 1_300, 800],
  ['dark', 'dark', 1_300, 800],
  ['narrow', 'light', 390, 1_000],
] as const) {
  const page = await site.open({ scheme, width, height });
  await page.emulateMedia({ reducedMotion: 'reduce' });
  await prepare(page);
  await page.evaluate(() => {
    (document.activeElement as HTMLElement | null)?.blur();
    scrollTo(0, 0);
  });
  const file = path.join(FOLDER_OF_SCREENSHOTS, `${name}.png`);
  await page.screenshot({ path: file });
  const { size } = statSync(file);
  console.log(`${name}.png: ${size} bytes`);
  assert.ok(size < MAX_BYTES, `${name}.png has more than ${MAX_BYTES} bytes`);
}
await site.stop();
assert.deepEqual(site.problems, []);
