/** axe-core finds nothing, in each state of the page and in both schemes. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';

import type axe from 'axe-core';
import type { Page } from 'playwright-core';

import { answered, button, field, guardMode, loadExample, selectSession } from './steps.js';
import { Site, useSite } from './support.js';

const it = useSite();
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Checks the page with all rules. */
async function check(page: Page, state: string): Promise<void> {
  // An animation would make texts transparent for a moment.
  await page.evaluate(async () => {
    // One that is cancelled rejects.
    await Promise.allSettled(document.getAnimations().map((animation) => animation.finished));
  });
  const { violations, passes } = await page.evaluate(() => {
    const { axe: loaded } = globalThis as unknown as { axe: typeof axe };
    return loaded.run(document, { resultTypes: ['violations', 'passes'] });
  });
  const found = violations.map(({ id, help, nodes }) => ({
    id,
    help,
    where: nodes.map(({ html, failureSummary }) => `${html}: ${failureSummary}`),
  }));
  assert.deepEqual(found, [], state);
  assert.ok(passes.length > 15, `${state}: only ${passes.length} rules applied`);
}

test('nothing is found while the component is loading, and when it does not start', async () => {
  const site = await Site.start();
  let answer = (_body: string): void => {};
  const body = new Promise<string>((resolve) => {
    answer = resolve;
  });
  const page = await site.open({
    before: (page) =>
      page.route('**/component.core.wasm', async (route) => {
        await route.fulfill({ contentType: 'application/wasm', body: await body });
      }),
  });
  await page.getByText('The component is loading.').waitFor();
  await page.evaluate(AXE);
  await check(page, 'loading');
  answer('this is no component');
  await page.getByRole('alert').getByText('The component could not be started').waitFor();
  await check(page, 'with a component that does not start');
  await site.stop();
  assert.equal(site.problems.length, 1, site.problems.join());
  assert.match(site.problems[0] ?? '', /^exception: .*WebAssembly/);
});

for (const scheme of ['light', 'dark'] as const) {
  for (const width of [1_440, 380]) {
    test(`nothing is found in ${scheme}, ${width} pixels wide`, async () => {
      const page = await it.site.open({ scheme, width });
      await button(page, 'New session').waitFor();
      await page.evaluate(AXE);
      await check(page, 'empty');
      await loadExample(page);
      await selectSession(page, /^researcher/);
      await button(page, 'Steal token').click();
      await button(page, 'Rotate').click();
      await button(page, 'Rotate the stolen token of researcher of Iris').click();
      await answered(page, 'invalid-token');
      await selectSession(page, /^writer/);
      await guardMode(page, 'Unavailable').check();
      await button(page, 'Revoke').click();
      await answered(page, 'the guard has not confirmed');
      await button(page, 'Move the clock forward, +1 h').click();
      await button(page, 'Move the clock back, −5 min').click();
      await page.getByText('clock-behind').waitFor();
      await check(page, 'with sessions');
      await guardMode(page, 'Refuses').check();
      await page.getByRole('button', { name: /^Kill switch/ }).click();
      await button(page, 'Next step').click();
      await page.getByRole('alert').filter({ hasText: 'The answer is' }).waitFor();
      await check(page, 'with a guide that failed');
      for (const name of ['New instance', 'New session', 'Delegate', 'Inspect the guard']) {
        await button(page, name).click();
        const dialog = page.getByRole('dialog');
        await dialog.waitFor();
        if (name === 'New session') {
          await field(dialog, 'Role').fill('');
          await button(dialog, 'Create session').click();
          await dialog.getByRole('alert').filter({ hasText: 'invalid-argument' }).waitFor();
        }
        await check(page, `with the dialog ${name}`);
        await button(dialog, 'Close').click();
        await dialog.waitFor({ state: 'detached' });
      }
    });
  }
}
