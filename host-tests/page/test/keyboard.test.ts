/** The main flow with the keyboard only. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Locator, Page } from 'playwright-core';

import { answered, button, field, figure, guardMode, loadExample } from './steps.js';
import { useSite } from './support.js';

const it = useSite();

/** Presses the tab key until an element has the focus. */
async function tabTo(page: Page, target: Locator): Promise<void> {
  for (let pressed = 0; pressed < 80; pressed += 1) {
    if (await target.evaluate((element) => element === document.activeElement)) {
      return;
    }
    await page.keyboard.press('Tab');
  }
  throw new Error('the tab key does not reach the element');
}

async function press(page: Page, target: Locator): Promise<void> {
  await tabTo(page, target);
  await page.keyboard.press('Enter');
}

test('a session is created, used and ended', async () => {
  const page = await it.site.open();
  await press(page, button(page, 'New session'));
  const dialog = page.getByRole('dialog');
  await dialog.waitFor();
  await tabTo(page, field(dialog, 'Agent'));
  await page.keyboard.type('Ada');
  await tabTo(page, field(dialog, 'Role'));
  await page.keyboard.press('Control+A');
  await page.keyboard.type('typist');
  await page.keyboard.press('Enter');
  await answered(page, 'create');
  await dialog.waitFor({ state: 'detached' });
  // The focus is where it was before the dialog.
  const focused = () => page.evaluate(() => document.activeElement?.textContent);
  assert.equal(await focused(), 'New session');
  await press(page, button(page, 'Validate'));
  await answered(page, 'validate', 'typist of Ada');
  await press(page, button(page, 'Delegate'));
  await dialog.waitFor();
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
  assert.equal(await focused(), 'Delegate');
  await press(page, button(page, 'Revoke'));
  await answered(page, 'revoke', 'session ended');
});

test('the arrow keys move in the tree', async () => {
  const page = await it.site.open();
  await loadExample(page);
  const focused = () =>
    page.evaluate(() => document.activeElement?.id);
  const item = (name: RegExp) => page.getByRole('treeitem', { name });
  const first = item(/^coordinator/);
  await first.focus();
  await page.keyboard.press('Home');
  const moves = [
    ['ArrowDown', /^researcher/],
    ['ArrowRight', /^crawler Pico/],
    ['ArrowDown', /^crawler Nano/],
    ['ArrowLeft', /^researcher/],
    ['ArrowLeft', /^researcher/],
    ['ArrowDown', /^writer/],
    ['End', /^deployer/],
    ['ArrowUp', /^builder/],
    ['Home', /^coordinator/],
  ] as const;
  for (const [key, name] of moves) {
    await page.keyboard.press(key);
    assert.equal(await focused(), await item(name).getAttribute('id'), key);
    assert.equal(await item(name).getAttribute('aria-selected'), 'true', key);
  }
  assert.equal(await item(/^researcher/).getAttribute('aria-expanded'), 'false');
  assert.equal(await item(/^crawler/).count(), 0);
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowRight');
  assert.equal(await item(/^crawler/).count(), 2);
});

test('the guard is switched off with the arrow keys', async () => {
  const page = await it.site.open();
  await tabTo(page, guardMode(page, 'Answers'));
  await page.keyboard.press('ArrowRight');
  assert.equal(await guardMode(page, 'Unavailable').isChecked(), true);
  await press(page, button(page, 'Load example'));
  await answered(page, 'guard unavailable');
  await figure(page, 'Active', 0);
});
