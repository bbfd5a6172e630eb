/** What a visitor does, by the names that the page shows. */

import assert from 'node:assert/strict';

import type { Locator, Page } from 'playwright-core';

/** Returns the part of the page with this heading. */
export function panel(page: Page, name: string | RegExp): Locator {
  return page.getByRole('region', { name });
}

/** Presses a button of the page. */
export async function press(within: Page | Locator, name: string | RegExp): Promise<void> {
  await within.getByRole('button', { name }).click();
}

/** Waits until the newest answer contains each of these texts. */
export async function expectAnswer(page: Page, ...texts: string[]): Promise<void> {
  const answer = page.getByRole('status', { name: 'Newest answer' });
  for (const text of texts) {
    await answer.filter({ hasText: text }).waitFor();
  }
}

/** Waits until a figure has a value. */
export async function expectFigure(page: Page, name: string, value: number): Promise<void> {
  const figure = page.locator('dl.figures > div', { has: page.getByText(name, { exact: true }) });
  await figure.locator('.number', { hasText: new RegExp(`^${value}$`) }).waitFor();
}

/** What a visitor enters for a session. */
export type Entries = Partial<
  Record<'Agent' | 'Role' | 'Scopes' | 'Lifetime' | 'Uses' | 'Task type' | 'Metadata', string>
>;

/** Fills in the dialog that is open. */
export async function fill(page: Page, entries: Entries): Promise<void> {
  for (const [label, text] of Object.entries(entries)) {
    await page.getByRole('dialog').getByLabel(label, { exact: true }).fill(text);
  }
}

/** Creates a session, and selects it as the page does. */
export async function createSession(page: Page, entries: Entries): Promise<void> {
  await press(panel(page, 'Sessions'), 'New session');
  await fill(page, entries);
  await press(page.getByRole('dialog'), 'Create session');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
}

/** Delegates from the selected session. */
export async function delegate(page: Page, entries: Entries): Promise<void> {
  await press(page.getByRole('group', { name: 'By the host' }), 'Delegate');
  await fill(page, entries);
  await press(page.getByRole('dialog'), 'Delegate session');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
}

/** Performs all steps of a guide, and returns what it said in each. */
export async function follow(page: Page, title: string): Promise<string[]> {
  await press(panel(page, 'Guides'), new RegExp(title));
  const guide = panel(page, `Guide: ${title}`);
  const steps = Number(/of (\d+)/.exec(await guide.locator('.count').innerText())?.[1]);
  assert.ok(steps >= 4, `${steps} steps`);
  for (let done = 1; done <= steps; done += 1) {
    await press(guide, 'Next step');
    await guide.getByText(`${done} of ${steps}`).waitFor();
  }
  const outcomes = await guide.locator('.outcome').allInnerTexts();
  assert.equal(await guide.getByRole('alert').innerText(), '');
  await press(guide, 'Finish');
  return outcomes;
}

/** Loads the example and waits until all its sessions are live. */
export async function loadExample(page: Page): Promise<void> {
  await press(panel(page, 'Sessions'), 'Load example');
  await expectFigure(page, 'Active', 10);
}
