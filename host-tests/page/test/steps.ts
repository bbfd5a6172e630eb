/** What a visitor does, by the roles and names that the page gives its parts. */

import assert from 'node:assert/strict';

import type { Locator, Page } from 'playwright-core';

export const button = (place: Page | Locator, name: string | RegExp): Locator =>
  place.getByRole('button', { name, exact: true });

export const panel = (page: Page, name: string | RegExp): Locator =>
  page.getByRole('region', { name, exact: true });

export const field = (place: Page | Locator, name: string): Locator =>
  place.getByLabel(name, { exact: true });

/** Sets how the guard answers. */
export const guardMode = (page: Page, name: string): Locator =>
  page.getByRole('region', { name: 'Guard', exact: true }).getByRole('radio', { name });

/** Waits until the newest answer contains these texts. */
export async function answered(page: Page, ...texts: (string | RegExp)[]): Promise<void> {
  let status = page.getByRole('status', { name: 'Newest answer' });
  for (const text of texts) {
    status = status.filter({ hasText: text });
  }
  await status.waitFor().catch(async (error: unknown) => {
    const text = await page.getByRole('status', { name: 'Newest answer' }).textContent();
    throw new Error(`the newest answer is not ${texts.join(', ')} but: ${text}`, { cause: error });
  });
}

/** What a visitor enters for a session, by the labels of the fields. */
export type Values = Record<string, string>;

export async function fillIn(page: Page, values: Values): Promise<Locator> {
  const dialog = page.getByRole('dialog');
  for (const [name, value] of Object.entries(values)) {
    await field(dialog, name).fill(value);
  }
  return dialog;
}

/** Starts another instance with these limits. */
export async function startInstance(page: Page, values: Values): Promise<void> {
  await button(page, 'New instance').click();
  await button(await fillIn(page, values), 'Start').click();
  await page.getByRole('dialog').waitFor({ state: 'detached' });
}

/** Creates a session, which is selected then. */
export async function create(page: Page, values: Values): Promise<void> {
  await button(page, 'New session').click();
  await fillIn(page, values);
  await button(page.getByRole('dialog'), 'Create session').click();
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  await answered(page, 'create', 'session ');
}

/** Waits until a figure has a value. */
export async function figure(page: Page, name: string, value: number): Promise<void> {
  const figures = panel(page, 'Figures');
  const term = page.getByRole('term').filter({ hasText: new RegExp(`^${name}$`) });
  const place = figures.locator('div', { has: term });
  await place
    .getByRole('definition')
    .filter({ hasText: new RegExp(`^${value}\\D*$`) })
    .waitFor();
}

/** Loads the example of 10 sessions, and waits until all are there. */
export async function loadExample(page: Page): Promise<void> {
  await button(page, 'Load example').click();
  await figure(page, 'Active', 10);
}

export async function selectSession(page: Page, name: RegExp): Promise<void> {
  const item = page.getByRole('treeitem', { name });
  await item.focus();
  await page.keyboard.press('Enter');
  assert.equal(await item.getAttribute('aria-selected'), 'true');
}
