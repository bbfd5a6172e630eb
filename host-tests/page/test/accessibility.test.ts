/** axe-core finds nothing, in light and dark colours, in every state of the page. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';

import type { AxeResults } from 'axe-core';
import type { Page } from 'playwright-core';

import { Bench } from './browser.js';
import { expectAnswer, loadExample, panel, press } from './steps.js';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let bench: Bench;
before(async () => (bench = await Bench.start()));
after(() => bench.end());

/** Runs axe-core with all its rules. `evaluate` is not subject to the policy of the page. */
async function check(page: Page, state: string): Promise<void> {
  await page.evaluate(`${AXE}; undefined`);
  const results = await page.evaluate<AxeResults>('axe.run(document, { resultTypes: ["violations"] })');
  const found = results.violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 200)).join(' ')}`,
  );
  assert.deepEqual(found, [], state);
  assert.ok(results.passes.length > 10, `${state}: ${results.passes.length} rules passed`);
  console.log(`axe-core: ${results.passes.length} rules passed, none violated: ${state}`);
}

for (const colorScheme of ['light', 'dark'] as const) {
  for (const width of [1440, 380]) {
    test(`axe-core finds nothing in ${colorScheme} colours, ${width} pixels wide`, async () => {
      const options = { colorScheme, viewport: { width, height: 900 }, reducedMotion: 'reduce' } as const;
      const visit = async (page: Page): Promise<void> => {
        const at = (state: string): string => `${colorScheme}, ${width} px, ${state}`;
        await check(page, at('empty'));
        await loadExample(page);
        await check(page, at('with sessions'));
        await press(page.getByRole('group', { name: 'With the token' }), 'Steal token');
        await press(panel(page, 'Agents'), 'End all sessions of Quill');
        await press(panel(page, 'Clock'), 'Move the clock forward, +1 d');
        await press(panel(page, 'Clock'), 'Move the clock back');
        await press(page.getByRole('group', { name: 'With the token' }), 'Validate');
        await expectAnswer(page, 'validate');
        await check(page, at('with ended sessions and refusals'));
        await press(panel(page, 'Sessions'), 'New session');
        await press(page.getByRole('dialog'), 'Create session');
        await page.getByRole('dialog').getByRole('alert').getByText('clock-behind').waitFor();
        await check(page, at('with the dialog of a session'));
        await page.keyboard.press('Escape');
        await press(page, 'Inspect the guard');
        await check(page, at('with the dialog of the guard'));
        await page.keyboard.press('Escape');
        await press(page, 'New instance');
        await check(page, at('with the dialog of the instance'));
        await page.keyboard.press('Escape');
        await press(panel(page, 'Guides'), /Stolen token/);
        await press(panel(page, 'Guide: Stolen token'), 'Next step');
        await check(page, at('with a guide'));
      };
      await bench.open('', visit, options);
    });
  }
}
