/** Takes the screenshots of the README, with the example and what happens to it. */

import { fileURLToPath } from 'node:url';

import type { Page } from 'playwright-core';

import { Bench } from './browser.js';
import { expectAnswer, expectFigure, loadExample, panel, press } from './steps.js';

const FOLDER = new URL('../screenshots/', import.meta.url);

async function happen(page: Page): Promise<void> {
  await loadExample(page);
  const tree = page.getByRole('tree', { name: 'Delegations' });
  const token = page.getByRole('group', { name: 'With the token' });
  await tree.getByText('notifier', { exact: true }).click();
  await press(token, 'Steal token');
  await press(token, 'Rotate');
  await press(panel(page, 'Stolen tokens'), /^Rotate the copy/);
  await press(panel(page, 'Agents'), 'End all sessions of Nano');
  await panel(page, 'Guard').getByRole('radio', { name: 'Unavailable' }).check();
  await press(panel(page, 'Agents'), 'End all sessions of Quill');
  await expectFigure(page, 'Pending revocations', 2);
  await tree.getByText('researcher', { exact: true }).click();
  await page.getByLabel('Scope to authorize').fill('deploy:production');
  await press(page, 'Authorize');
  await panel(page, 'Guard').getByRole('radio', { name: 'Answers' }).check();
  await press(page, 'Authorize');
  await expectAnswer(page, 'scope-denied');
}

const bench = await Bench.start();
for (const [name, colorScheme, width, height] of [
  ['light', 'light', 1440, 1000],
  ['dark', 'dark', 1440, 1000],
  ['narrow', 'light', 390, 1200],
] as const) {
  const options = { colorScheme, viewport: { width, height }, reducedMotion: 'reduce' } as const;
  const take = async (page: Page): Promise<void> => {
    await happen(page);
    await page.screenshot({ path: fileURLToPath(new URL(`${name}.png`, FOLDER)) });
  };
  await bench.open('', take, options);
}
await bench.end();
