/** Texts that are meant to break the page. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Page } from 'playwright-core';

import { answered, button, create, field, figure, fillIn, panel } from './steps.js';
import { useSite } from './support.js';

const it = useSite();

const MARKUP = '<img src=x onerror=alert(1)>';

async function addAgent(page: Page, name: string): Promise<void> {
  // Typing is what keeps a lone surrogate; a form would replace it.
  await field(page, 'Name of a new agent').evaluate((input, name) => {
    (input as HTMLInputElement).value = name;
  }, name);
  await button(page, 'Add agent').click();
}

test('markup is shown as text', async () => {
  const page = await it.site.open();
  // The mark of the header.
  const images = 1;
  await page.locator('img').waitFor();
  await create(page, {
    Agent: MARKUP,
    Role: MARKUP,
    'Task type': '</script><script>alert(2)</script>',
    Metadata: JSON.stringify({ html: MARKUP }),
  });
  await panel(page, `${MARKUP} of ${MARKUP}`).waitFor();
  const detail = panel(page, `${MARKUP} of ${MARKUP}`);
  await detail.getByText('</script><script>alert(2)</script>').waitFor();
  await field(detail, 'Scope to authorize').fill(MARKUP.replaceAll(' ', '/'));
  await button(detail, 'Authorize').click();
  await answered(page, 'scope-denied', MARKUP.replaceAll(' ', '/'));
  await field(page, 'Role').selectOption(MARKUP);
  await button(page, 'End role').click();
  await answered(page, '1 session ended');
  assert.equal(await page.locator('img').count(), images);
});

test('long texts are refused or cut, and the page keeps its width', async () => {
  const page = await it.site.open();
  const long = 'x'.repeat(10_000);
  await button(page, 'New session').click();
  const dialog = await fillIn(page, { Agent: long, Role: long });
  await button(dialog, 'Create session').click();
  await answered(page, 'invalid-argument', 'role');
  await field(dialog, 'Role').fill('long');
  await field(dialog, 'Metadata').fill(JSON.stringify(long));
  await button(dialog, 'Create session').click();
  await dialog.waitFor({ state: 'detached' });
  await figure(page, 'Active', 1);
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.equal(width, 1_440);
  await addAgent(page, long);
});

test('a lone surrogate is refused by the component, and shown in a name', async () => {
  const page = await it.site.open();
  await addAgent(page, 'half \ud800 pair');
  const agents = panel(page, 'Agents');
  await agents.getByText(/half . pair/).waitFor();
  await agents.getByRole('button', { name: /^New session of half/ }).click();
  const dialog = page.getByRole('dialog');
  await field(dialog, 'Role').evaluate((input) => {
    (input as HTMLInputElement).value = 'half \udc00';
  });
  await button(dialog, 'Create session').click();
  await answered(page, 'invalid-argument', 'role', 'surrogate');
  await field(dialog, 'Role').fill('whole');
  await button(dialog, 'Create session').click();
  await answered(page, 'create', 'session');
  await figure(page, 'Active', 1);
});
