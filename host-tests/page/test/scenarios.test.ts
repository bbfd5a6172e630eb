/** The guided scenarios, to their ends. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Locator, Page } from 'playwright-core';

import { button, figure, guardMode, panel, startInstance } from './steps.js';
import { useSite } from './support.js';

const it = useSite();

/** Follows a guide, and checks what it says after each step. */
async function follow(page: Page, title: string, outcomes: string[]): Promise<Locator> {
  await page.getByRole('button', { name: new RegExp(`^${title}`) }).click();
  const guide = panel(page, `Guide: ${title}`);
  for (const [index, outcome] of outcomes.entries()) {
    await button(guide, 'Next step').click();
    await guide.getByText(`${index + 1} of ${outcomes.length}`).waitFor();
    await guide.getByRole('listitem').nth(index).filter({ hasText: outcome }).waitFor();
  }
  await button(guide, 'Finish').waitFor();
  return guide;
}

test('the kill switch', async () => {
  const page = await it.site.open();
  const guide = await follow(page, 'Kill switch', [
    'The session is live',
    'The agent has 3 live sessions.',
    'The call succeeds.',
    '3 sessions ended.',
    'The answer is invalid-token.',
  ]);
  await button(guide, 'Finish').click();
  await guide.waitFor({ state: 'detached' });
  await figure(page, 'Ended', 3);
});

test('the stolen token', async () => {
  const page = await it.site.open();
  await follow(page, 'Stolen token', [
    'The session is live.',
    'Now two parties hold it.',
    'Alice has a new token.',
    'The answer is invalid-token.',
    'The reason is theft.',
    'The answer is invalid-token.',
  ]);
});

test('delegation', async () => {
  const page = await it.site.open();
  await follow(page, 'Delegation', [
    'It is the root of a tree.',
    'The planner has a session below it',
    'three levels deep',
    'The answer is scope-denied.',
    'The call succeeds.',
    '2 sessions below it ended',
    'The answer is invalid-token.',
  ]);
});

test('the guard that is down', async () => {
  const page = await it.site.open();
  await follow(page, 'Guard down', [
    'The guard has issued its token.',
    'unavailable',
    'The answer is guard unavailable.',
    '1 revocation pending',
    'The answer is invalid-token.',
    '1 revocation settled. To the guard, the token is revoked.',
  ]);
  assert.equal(await guardMode(page, 'Answers').isChecked(), true);
});

test('a copy that is accepted within the rotation grace stops the guide', async () => {
  const page = await it.site.open();
  await startInstance(page, { 'Rotation grace': '60' });
  await page.getByRole('button', { name: /^Stolen token/ }).click();
  const guide = panel(page, 'Guide: Stolen token');
  for (let step = 1; step <= 4; step += 1) {
    await button(guide, 'Next step').click();
  }
  await guide.getByRole('alert').filter({ hasText: 'has a rotation grace' }).waitFor();
  await panel(page, 'analyst of Alice').getByText('live', { exact: true }).waitFor();
});

test('a guide ends with its instance, and leaves a guard that answers', async () => {
  const page = await it.site.open();
  await page.getByRole('button', { name: /^Guard down/ }).click();
  const guide = panel(page, 'Guide: Guard down');
  await button(guide, 'Next step').click();
  await button(guide, 'Next step').click();
  await button(guide, 'Stop').click();
  assert.equal(await guardMode(page, 'Answers').isChecked(), true);
  await page.getByRole('button', { name: /^Kill switch/ }).click();
  await button(page, 'Next step').click();
  await startInstance(page, {});
  await panel(page, 'Guides').waitFor();
});

test('a guide that is followed again has agents of its own', async () => {
  const page = await it.site.open();
  for (const name of ['Mallory', 'Mallory 2']) {
    await page.getByRole('button', { name: /^Kill switch/ }).click();
    await button(page, 'Next step').click();
    await button(page, 'Next step').click();
    await page.getByText('The agent has 3 live sessions.').waitFor();
    await button(page, `New session of ${name}`).waitFor();
    await button(page, 'Stop').click();
  }
});

test('a guide that cannot continue says why, and can be stopped', async () => {
  const page = await it.site.open();
  await page.getByRole('button', { name: /^Kill switch/ }).click();
  const guide = panel(page, 'Guide: Kill switch');
  await guardMode(page, 'Unavailable').check();
  await button(guide, 'Next step').click();
  await guide.getByRole('alert').filter({ hasText: 'The answer is guard unavailable.' }).waitFor();
  await button(guide, 'Finish').click();
  await page.getByRole('button', { name: /^Kill switch/ }).click();
  await button(guide, 'Stop').click();
  await guide.waitFor({ state: 'detached' });
});
