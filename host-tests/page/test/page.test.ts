/** Each control of the page, used as a visitor does. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  answered,
  button,
  create,
  field,
  figure,
  fillIn,
  guardMode,
  loadExample,
  panel,
  selectSession,
  startInstance,
} from './steps.js';
import { useSite } from './support.js';

const it = useSite();

test('a session is created with all fields, used, renewed and ended', async () => {
  const page = await it.site.open();
  await create(page, {
    Agent: 'Ada',
    Role: 'researcher',
    Scopes: 'memory:read tool:*',
    Lifetime: '900',
    Uses: '5',
    'Task type': 'reading',
    Metadata: '{"team":"x"}',
  });
  const detail = panel(page, 'researcher of Ada');
  for (const text of ['memory:read', 'reading', '{"team":"x"}', 'generation 0', 'in 14 min']) {
    await detail.getByText(text).first().waitFor();
  }
  await button(detail, 'Validate').click();
  await answered(page, 'validate', 'researcher of Ada, 4 uses left');
  await field(detail, 'Scope to authorize').fill('tool:search');
  await button(detail, 'Authorize').click();
  await answered(page, 'authorize', '3 uses left');
  await field(detail, 'Scope to authorize').fill('memory:write');
  await button(detail, 'Authorize').click();
  await answered(page, 'scope-denied', 'memory:write', 'No scope of the session covers');
  await button(detail, 'Rotate').click();
  await answered(page, 'rotate', 'token of generation 1');
  await button(detail, 'Refresh').click();
  await answered(page, 'refresh', 'token of generation 2');
  await button(detail, 'Delegate').click();
  const dialog = await fillIn(page, { Agent: 'Bob' });
  await button(dialog, 'Delegate session').click();
  await answered(page, 'delegate', 'limit-reached', 'max-uses');
  await button(dialog, 'Cancel').click();
  await button(detail, 'Revoke').click();
  await answered(page, 'revoke', 'session ended; the guard has confirmed');
  await button(detail, 'Revoke').click();
  await answered(page, 'session-not-found', 'No live session has this id.');
  await figure(page, 'Active', 0);
  await figure(page, 'Ended', 1);
  const events = page.getByRole('list', { name: 'Events, newest first' });
  for (const event of ['created', 'rotated', 'refreshed', 'denied', 'ended']) {
    await events.getByText(event, { exact: true }).first().waitFor();
  }
  const answers = panel(page, 'Answers');
  assert.match(await answers.textContent() ?? '', /revokerefused[\d.]+ [µm]ssession-not-found/);
});

test('sessions are delegated in a tree, and a revoked parent ends those below it', async () => {
  const page = await it.site.open();
  await create(page, { Agent: 'Top', Role: 'root', Scopes: 'tool:*' });
  await button(page, 'Delegate').click();
  const dialog = await fillIn(page, { Agent: 'Sub', Role: 'child', Scopes: 'memory:read' });
  await button(dialog, 'Delegate session').click();
  await answered(page, 'scope-denied', 'memory:read');
  await field(dialog, 'Scopes').fill('tool:search');
  await button(dialog, 'Delegate session').click();
  await answered(page, 'delegate', 'with 1 scope');
  const root = page.getByRole('treeitem', { name: /^root Top live/, expanded: true });
  await root.waitFor();
  const child = page.getByRole('treeitem', { name: /^child Sub live/, level: 2 });
  await child.waitFor();
  await selectSession(page, /^root Top/);
  await button(page, 'Revoke').click();
  await answered(page, 'revoke', '1 below it');
  await root.waitFor({ state: 'detached' });
  await page.getByRole('treeitem', { name: /^child Sub ended .*cascade$/ }).waitFor();
});

test('a stolen token ends the session when it is rotated', async () => {
  const page = await it.site.open();
  await create(page, { Agent: 'Eve', Role: 'victim' });
  const detail = panel(page, 'victim of Eve');
  await button(detail, 'Steal token').click();
  await button(detail, 'Rotate').click();
  await answered(page, 'token of generation 1');
  const stolen = panel(page, 'Stolen tokens');
  await button(stolen, 'Validate the stolen token of victim of Eve').click();
  await answered(page, 'validate', 'invalid-token');
  await detail.getByText('live', { exact: true }).waitFor();
  await button(stolen, 'Rotate the stolen token of victim of Eve').click();
  await answered(page, 'rotate', 'invalid-token');
  await detail.getByText('ended: theft').waitFor();
  await button(stolen, 'Discard the stolen token of victim of Eve').click();
  await stolen.getByText('No token has been stolen.').waitFor();
});

test('a thief that rotates first keeps the new token, and the owner ends the session', async () => {
  const page = await it.site.open();
  await create(page, { Agent: 'Eve', Role: 'victim' });
  const detail = panel(page, 'victim of Eve');
  const stolen = panel(page, 'Stolen tokens');
  await button(detail, 'Steal token').click();
  await button(stolen, 'Rotate the stolen token of victim of Eve').click();
  await answered(page, 'token of generation 1');
  await stolen.getByText('generation 1').waitFor();
  await detail.getByText('generation 0, superseded by generation 1').waitFor();
  await button(stolen, 'Validate the stolen token of victim of Eve').click();
  await answered(page, 'validate', 'victim of Eve');
  await button(detail, 'Validate').click();
  await answered(page, 'validate', 'invalid-token');
  await button(detail, 'Rotate').click();
  await answered(page, 'rotate', 'invalid-token');
  await detail.getByText('ended: theft').waitFor();
  await button(stolen, 'Validate the stolen token of victim of Eve').click();
  await answered(page, 'validate', 'invalid-token');
});

test('within the rotation grace, owner and thief get tokens of their own', async () => {
  const page = await it.site.open();
  await startInstance(page, { 'Rotation grace': '60' });
  await create(page, { Agent: 'Eve', Role: 'victim' });
  const detail = panel(page, 'victim of Eve');
  const stolen = panel(page, 'Stolen tokens');
  await button(detail, 'Steal token').click();
  await button(detail, 'Rotate').click();
  await answered(page, 'token of generation 1');
  await button(stolen, 'Rotate the stolen token of victim of Eve').click();
  await answered(page, 'token of generation 2');
  await stolen.getByText('generation 2').waitFor();
  await detail.getByText('generation 1, superseded by generation 2').waitFor();
});

test('each agent has its own name, and a refused session adds no agent', async () => {
  const page = await it.site.open();
  const agents = panel(page, 'Agents');
  for (const name of ['Ada', 'Ada 2', 'Ada 3']) {
    await field(agents, 'Name of a new agent').fill('Ada');
    await button(agents, 'Add agent').click();
    await button(agents, `New session of ${name}`).waitFor();
  }
  await button(agents, 'New session of Ada 2').click();
  await button(page.getByRole('dialog'), 'Create session').click();
  await answered(page, 'create', 'session ');
  await agents.getByRole('listitem').filter({ hasText: /^Ada 2.* 1 live/ }).waitFor();
  await button(page, 'New session').click();
  const dialog = await fillIn(page, { Agent: 'Bob', Lifetime: '0' });
  await button(dialog, 'Create session').click();
  await answered(page, 'create', 'invalid-argument');
  assert.equal(await agents.getByRole('listitem').count(), 3);
  await field(dialog, 'Lifetime').fill('');
  await button(dialog, 'Create session').click();
  await answered(page, 'create', 'session ');
  await button(agents, 'New session of Bob').waitFor();
});

test('the example has the same agents each time', async () => {
  const page = await it.site.open();
  await loadExample(page);
  const agents = panel(page, 'Agents').getByRole('listitem');
  const before = await agents.count();
  await button(page, 'Load example').click();
  await figure(page, 'Active', 20);
  assert.equal(await agents.count(), before);
});

test('an event of a session that the page has forgotten selects nothing', async () => {
  const page = await it.site.open();
  await create(page, { Agent: 'Ada', Role: 'leaver' });
  const created = page.getByRole('list', { name: 'Events, newest first' }).getByRole('listitem');
  const link = created.filter({ hasText: 'created' }).getByRole('button');
  await link.waitFor();
  await button(page, 'Revoke').click();
  await answered(page, 'revoke', 'session ended');
  await button(page, 'Forget ended').click();
  await link.waitFor({ state: 'detached' });
});

test('after each call the page is drawn once, however many sessions it has ended', async () => {
  const page = await it.site.open();
  for (let example = 1; example <= 5; example += 1) {
    await button(page, 'Load example').click();
    await figure(page, 'Active', 10 * example);
  }
  const tree = page.getByRole('tree');
  await tree.evaluate((list) => {
    list.dataset['drawings'] = '0';
    const count = (): void => {
      list.dataset['drawings'] = String(Number(list.dataset['drawings']) + 1);
    };
    // A session that ends gets other elements.
    new MutationObserver(count).observe(list, { childList: true, subtree: true });
  });
  await button(page, 'End everything').click();
  await figure(page, 'Ended', 50);
  assert.equal(await tree.getAttribute('data-drawings'), '1');
});

test('a bearer logs out, and the last use ends a session', async () => {
  const page = await it.site.open();
  await create(page, { Agent: 'Ada', Role: 'leaver' });
  await button(page, 'Log out').click();
  await answered(page, 'revoke-by-token', 'session ended');
  await create(page, { Agent: 'Ada', Role: 'once', Uses: '1' });
  await button(page, 'Validate').click();
  await answered(page, 'validate', '0 uses left');
  await panel(page, 'once of Ada').getByText('ended: exhausted').waitFor();
});

test('the kill switches end an agent, a role, a root and everything', async () => {
  const page = await it.site.open();
  await loadExample(page);
  await button(page, 'End all sessions of Forge').click();
  await answered(page, 'revoke-all-for-agent', '2 sessions ended');
  const switches = panel(page, 'Kill switches');
  await field(switches, 'Role').selectOption('crawler');
  await button(switches, 'End role').click();
  await answered(page, 'revoke-all', '2 sessions ended');
  await field(switches, 'Root').selectOption({ index: 1 });
  await button(switches, 'End root').click();
  await answered(page, 'revoke-all', '2 sessions ended');
  await figure(page, 'Active', 4);
  await button(switches, 'End everything').click();
  await answered(page, 'revoke-all', '4 sessions ended');
  await figure(page, 'Active', 0);
  await figure(page, 'Ended', 10);
  assert.equal(await field(switches, 'Role').isDisabled(), true);
  await field(page, 'Hide ended').check();
  await page.getByText('There are no sessions to show.').waitFor();
  await field(page, 'Hide ended').uncheck();
  await button(page, 'Forget ended').click();
  await page.getByText('There are no sessions to show.').waitFor();
});

test('sessions expire by the clock of the page, and a clock that goes back is noticed', async () => {
  const page = await it.site.open();
  const clock = page.getByRole('region', { name: 'Clock' });
  await create(page, { Agent: 'Ada', Role: 'short', Lifetime: '600' });
  await button(clock, 'Move the clock forward, +15 min').click();
  await clock.getByText('15 min ahead').waitFor();
  await panel(page, 'short of Ada').getByText('expired', { exact: true }).waitFor();
  await figure(page, 'Expired, not pruned', 1);
  await button(page, 'Prune').click();
  await answered(page, 'prune-expired', '1 session ended');
  await panel(page, 'short of Ada').getByText('ended: expired').waitFor();
  await create(page, { Agent: 'Ada', Role: 'long', Lifetime: '7200' });
  await button(clock, 'Move the clock back, −5 min').click();
  await clock.getByText('clock-behind').waitFor();
  await button(page, 'Refresh').click();
  await answered(page, 'refresh', 'clock-behind', /lag (5 min|4 min 59 s)/);
  await button(clock, 'End all and accept clock').click();
  await answered(page, 'accept-clock', '1 session ended');
  await button(clock, 'Real time').click();
  await clock.getByText('real time', { exact: true }).waitFor();
  for (const name of ['+1 min', '+1 h', '+1 d']) {
    await button(clock, `Move the clock forward, ${name}`).click();
  }
  await clock.getByText('1 d 1 h ahead').waitFor();
});

test('a guard that is switched off holds up revocations with it, and no others', async () => {
  const page = await it.site.open();
  await create(page, { Agent: 'Ada', Role: 'guarded' });
  const guard = page.getByRole('region', { name: 'Guard' });
  await guardMode(page, 'Unavailable').check();
  await button(page, 'Validate').click();
  await answered(page, 'validate', 'guard unavailable', 'the guard is switched off');
  await guardMode(page, 'Refuses').check();
  await button(page, 'Validate').click();
  await answered(page, 'validate', 'guard denied', 'the guard is set to refuse');
  await guardMode(page, 'Unavailable').check();
  await button(page, 'Revoke').click();
  await answered(page, 'revoke', 'the guard has not confirmed');
  await figure(page, 'Pending revocations', 1);
  const table = page.getByRole('dialog').getByRole('table');
  await button(guard, 'Inspect the guard').click();
  await table.getByRole('row', { name: /guarded of Ada .* valid$/ }).waitFor();
  await button(page.getByRole('dialog'), 'Close').click();
  await guardMode(page, 'Answers').check();
  await button(page, 'Flush').click();
  await answered(page, 'flush-guard-revocations', '1 settled, 0 still pending');
  await figure(page, 'Pending revocations', 0);
  await button(guard, 'Inspect the guard').click();
  await table.getByRole('row', { name: /guarded of Ada .* revoked$/ }).waitFor();
});

test('another instance has the limits that were set, and refuses wrong ones', async () => {
  const page = await it.site.open();
  await loadExample(page);
  await button(page, 'New instance').click();
  const dialog = await fillIn(page, { 'Rotation grace': '301', 'Largest depth': '0' });
  await button(dialog, 'Start').click();
  await answered(page, 'configure', 'invalid-argument', 'rotation-grace');
  await figure(page, 'Active', 10);
  await fillIn(page, { 'Rotation grace': '', 'Idle timeout': '30' });
  await button(dialog, 'Start').click();
  await dialog.waitFor({ state: 'detached' });
  await figure(page, 'Events', 0);
  await create(page, { Agent: 'Ada', Role: 'idler' });
  await button(page, 'Delegate').click();
  await button(page.getByRole('dialog'), 'Delegate session').click();
  await answered(page, 'delegate', 'limit-reached', 'max-depth');
  await button(page.getByRole('dialog'), 'Cancel').click();
  await button(page, 'Move the clock forward, +1 min').click();
  await button(page, 'Validate').click();
  await answered(page, 'validate', 'session-expired');
  await panel(page, 'idler of Ada').getByText('ended: idle').waitFor();
});

test('a refused field is marked, and named as in the contract', async () => {
  const page = await it.site.open();
  await button(page, 'New session').click();
  const dialog = page.getByRole('dialog');
  const wrong = [
    ['Role', '', 'role', 'worker'],
    ['Scopes', 'two"quotes', 'scopes', 'tool:*'],
    ['Lifetime', '0.5', 'expires-in', ''],
    ['Lifetime', 'soon', 'expires-in', ''],
    ['Lifetime', '0', 'expires-in', ''],
    ['Uses', '0', 'max-uses', ''],
    ['Task type', 'x'.repeat(129), 'task-type', ''],
    ['Metadata', '{', 'metadata', ''],
  ] as const;
  for (const [label, value, name, right] of wrong) {
    await field(dialog, label).fill(value);
    await button(dialog, 'Create session').click();
    await dialog.getByRole('alert').filter({ hasText: `invalid-argumentfield ${name}` }).waitFor();
    assert.equal(await field(dialog, label).getAttribute('aria-invalid'), 'true', label);
    await field(dialog, label).fill(right);
  }
  await button(dialog, 'Create session').click();
  await dialog.waitFor({ state: 'detached' });
  await figure(page, 'Active', 1);
});

test('the colours follow the system until they are switched', async () => {
  const page = await it.site.open({ scheme: 'dark' });
  const canvas = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.equal(await canvas(), 'rgb(11, 12, 15)');
  await button(page, 'Switch to light colours').click();
  assert.equal(await canvas(), 'rgb(246, 247, 249)');
  await button(page, 'Switch to dark colours').click();
  assert.equal(await canvas(), 'rgb(11, 12, 15)');
  await page.emulateMedia({ colorScheme: 'light' });
  assert.equal(await canvas(), 'rgb(11, 12, 15)');
});

test('fifty sessions are shown, and nothing is wider than a narrow screen', async () => {
  const page = await it.site.open({ width: 380, height: 800 });
  for (let example = 1; example <= 5; example += 1) {
    await button(page, 'Load example').click();
    await figure(page, 'Active', 10 * example);
  }
  assert.equal(await page.getByRole('treeitem').count(), 50);
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.equal(width, 380);
});

test('the page stores nothing', async () => {
  const page = await it.site.open();
  await loadExample(page);
  const stored = await page.evaluate(async () => [
    localStorage.length,
    sessionStorage.length,
    document.cookie,
    (await indexedDB.databases()).length,
    (await caches.keys()).length,
  ]);
  assert.deepEqual(stored, [0, 0, '', 0, 0]);
});
