/** What a visitor does with the page, and what the page shows. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { Page } from 'playwright-core';

import { Bench } from './browser.js';
import {
  createSession,
  delegate,
  expectAnswer,
  expectFigure,
  fill,
  follow,
  loadExample,
  panel,
  press,
} from './steps.js';

let bench: Bench;
before(async () => (bench = await Bench.start()));
after(() => bench.end());

function onPage(name: string, steps: (page: Page) => Promise<void>): void {
  test(name, () => bench.open('', steps));
}

const ALICE = { Agent: 'Alice', Role: 'analyst', Scopes: 'memory:* web:search' };

const withToken = (page: Page) => page.getByRole('group', { name: 'With the token' });
const byHost = (page: Page) => page.getByRole('group', { name: 'By the host' });

/** Waits for an event at the top of the timeline. */
async function expectEvent(page: Page, kind: string, reason = ''): Promise<void> {
  const events = page.getByRole('list', { name: 'Events, newest first' });
  await events.getByText(kind, { exact: true }).first().waitFor();
  const first = await events.getByRole('listitem').first().innerText();
  assert.match(first, new RegExp(`^${kind}\\s*${reason}`));
}

onPage('a session can be created, validated, renewed and ended', async (page) => {
  await createSession(page, ALICE);
  await expectFigure(page, 'Active', 1);
  await expectEvent(page, 'created');
  await press(withToken(page), 'Validate');
  await expectAnswer(page, 'validate', 'analyst of Alice');
  await press(withToken(page), 'Rotate');
  await expectAnswer(page, 'rotate', 'token of generation 1');
  await expectEvent(page, 'rotated');
  await press(byHost(page), 'Refresh');
  await expectAnswer(page, 'refresh', 'token of generation 2');
  await expectEvent(page, 'refreshed');
  await press(withToken(page), 'Log out');
  await expectAnswer(page, 'revoke-by-token', 'the guard has confirmed');
  await expectEvent(page, 'ended', 'revoked');
  await press(withToken(page), 'Validate');
  await expectAnswer(page, 'invalid-token');
  await press(byHost(page), 'Revoke');
  await expectAnswer(page, 'session-not-found');
  await expectFigure(page, 'Active', 0);
  await expectFigure(page, 'Ended', 1);
});

onPage('each call is listed with its duration', async (page) => {
  await createSession(page, ALICE);
  await press(withToken(page), 'Validate');
  const answers = page.getByRole('list', { name: 'Answers, newest first' });
  const [newest, first] = await answers.getByRole('listitem').allInnerTexts();
  assert.match(newest ?? '', /^validate\s+ok\s+[\d.,]+ (µs|ms)/);
  assert.match(first ?? '', /^create\s+ok\s+[\d.,]+ (µs|ms)/);
});

onPage('a scope is authorized, or refused by its name', async (page) => {
  await createSession(page, ALICE);
  const scope = page.getByLabel('Scope to authorize');
  await scope.fill('memory:write');
  await press(page, 'Authorize');
  await expectAnswer(page, 'authorize', 'analyst of Alice');
  await scope.fill('deploy:production');
  await press(page, 'Authorize');
  await expectAnswer(page, 'scope-denied', 'deploy:production');
  await expectEvent(page, 'denied', 'scope');
});

onPage('a delegated session has no more than its parent, and ends with it', async (page) => {
  await createSession(page, ALICE);
  await press(byHost(page), 'Delegate');
  await fill(page, { Agent: 'Bob', Role: 'helper', Scopes: 'deploy:production' });
  const dialog = page.getByRole('dialog');
  await press(dialog, 'Delegate session');
  await dialog.getByRole('alert').getByText('scope-denied').waitFor();
  await fill(page, { Scopes: 'memory:read' });
  await press(dialog, 'Delegate session');
  await dialog.waitFor({ state: 'detached' });
  await delegate(page, { Agent: 'Carol', Role: 'worker', Scopes: 'memory:read' });
  await expectFigure(page, 'Active', 3);
  const tree = page.getByRole('tree', { name: 'Delegations' });
  const carol = tree.getByRole('treeitem').getByRole('treeitem').getByRole('treeitem');
  await carol.getByText('worker', { exact: true }).waitFor();
  await tree.getByText('analyst', { exact: true }).click();
  await press(byHost(page), 'Revoke');
  await expectAnswer(page, '2 below it');
  await expectFigure(page, 'Active', 0);
  await tree.getByRole('treeitem', { name: /^worker Carol ?, ended cascade/ }).waitFor();
});

onPage('a stolen token ends its session when it is rotated', async (page) => {
  await createSession(page, ALICE);
  await press(withToken(page), 'Steal token');
  await press(withToken(page), 'Rotate');
  const stolen = panel(page, 'Stolen tokens');
  await press(stolen, 'Validate the copy of analyst of Alice');
  await expectAnswer(page, 'invalid-token');
  await expectFigure(page, 'Active', 1);
  await press(stolen, 'Rotate the copy of analyst of Alice');
  await expectAnswer(page, 'invalid-token');
  await expectEvent(page, 'ended', 'theft');
  await expectFigure(page, 'Active', 0);
  await press(stolen, 'Discard the copy of analyst of Alice');
  await stolen.waitFor({ state: 'detached' });
});

onPage('the kill switches end an agent, a role, a root and everything', async (page) => {
  await loadExample(page);
  await press(panel(page, 'Agents'), 'End all sessions of Forge');
  await expectAnswer(page, 'revoke-all-for-agent', '2 sessions ended');
  const switches = panel(page, 'Kill switches');
  await switches.getByRole('combobox', { name: 'Role' }).selectOption('crawler');
  await press(switches, 'End role');
  await expectAnswer(page, 'revoke-all', '2 sessions ended');
  const root = await switches.getByRole('combobox', { name: 'Root' }).locator('option', { hasText: 'monitor' }).innerText();
  await switches.getByRole('combobox', { name: 'Root' }).selectOption(root);
  await press(switches, 'End root');
  await expectAnswer(page, 'revoke-all', '2 sessions ended');
  await expectFigure(page, 'Active', 4);
  await press(switches, 'End everything');
  await expectAnswer(page, 'revoke-all', '4 sessions ended');
  await expectFigure(page, 'Active', 0);
  await page.getByLabel('Hide ended').check();
  await page.getByText('There are no sessions to show').waitFor();
});

onPage('the clock can be moved: sessions expire, and a lag grants no time', async (page) => {
  await createSession(page, { ...ALICE, Lifetime: '600' });
  const clock = panel(page, 'Clock');
  await press(clock, 'Move the clock forward, +15 min');
  await expectFigure(page, 'Expired, not pruned', 1);
  await press(page, 'Prune');
  await expectEvent(page, 'ended', 'expired');
  await press(clock, 'Move the clock back');
  await clock.getByText('clock-behind').waitFor();
  await press(panel(page, 'Sessions'), 'New session');
  await fill(page, ALICE);
  const dialog = page.getByRole('dialog');
  await press(dialog, 'Create session');
  await dialog.getByRole('alert').getByText('clock-behind').waitFor();
  await press(dialog, 'Cancel');
  await press(clock, 'Accept clock');
  await expectAnswer(page, 'accept-clock');
  await createSession(page, ALICE);
  await expectFigure(page, 'Active', 1);
});

onPage('a guard that is down refuses validations, and delays no revocation', async (page) => {
  await createSession(page, ALICE);
  const guard = panel(page, 'Guard');
  await guard.getByRole('radio', { name: 'Unavailable' }).check();
  await press(withToken(page), 'Validate');
  await expectAnswer(page, 'guard unavailable');
  await press(byHost(page), 'Revoke');
  await expectAnswer(page, 'the guard has not confirmed');
  await expectFigure(page, 'Pending revocations', 1);
  await expectFigure(page, 'Active', 0);
  await guard.getByRole('radio', { name: 'Answers' }).check();
  await press(page, 'Flush');
  await expectAnswer(page, 'flush-guard-revocations', '1 settled, 0 still pending');
  await expectFigure(page, 'Pending revocations', 0);
  await press(guard, 'Inspect the guard');
  const dialog = page.getByRole('dialog', { name: 'What the guard holds' });
  await dialog.getByRole('cell', { name: 'revoked' }).waitFor();
  await press(dialog, 'Close');
  await guard.getByRole('radio', { name: 'Refuses' }).check();
  await press(panel(page, 'Sessions'), 'New session');
  await fill(page, ALICE);
  await press(page.getByRole('dialog'), 'Create session');
  await page.getByRole('dialog').getByRole('alert').getByText('guard denied').waitFor();
});

onPage('each guide performs its steps, and every answer is that of the contract', async (page) => {
  const last = async (title: string): Promise<string> => (await follow(page, title)).at(-1) ?? '';
  assert.match(await last('Kill switch'), /invalid-token|created|live/);
  const stolen = await follow(page, 'Stolen token');
  assert.match(stolen.join('\n'), /reason of the end is theft/);
  assert.match(await last('Delegation'), /invalid-token/);
  assert.match(await last('Guard down'), /1 revocation settled/);
});

onPage('a new instance has other limits, and the page names the limit', async (page) => {
  await press(page, 'New instance');
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Largest depth').fill('17');
  await press(dialog, 'Start');
  await dialog.getByRole('alert').getByText('invalid-argument').waitFor();
  await dialog.getByLabel('Largest depth').fill('0');
  await dialog.getByLabel('Sessions of an agent').fill('1');
  await press(dialog, 'Start');
  await dialog.waitFor({ state: 'detached' });
  await createSession(page, ALICE);
  await press(panel(page, 'Sessions'), 'New session');
  await fill(page, ALICE);
  await press(dialog, 'Create session');
  const alert = dialog.getByRole('alert');
  await alert.getByText('limit-reached').waitFor();
  await alert.getByText('max-sessions-per-agent').waitFor();
});

onPage('a wrong value is refused at its field, with the reason of the contract', async (page) => {
  await press(panel(page, 'Sessions'), 'New session');
  const dialog = page.getByRole('dialog');
  const wrong = [
    ['Role', 'role', '', 'worker'],
    ['Scopes', 'scopes', 'a"b', 'memory:read'],
    ['Lifetime', 'expires-in', '0', '60'],
    ['Lifetime', 'expires-in', 'soon', '60'],
    ['Uses', 'max-uses', '-1', '2'],
    ['Metadata', 'metadata', '{', '{"a":1}'],
    ['Role', 'role', 'x'.repeat(10_000), 'worker'],
  ] as const;
  await fill(page, { Agent: 'Alice' });
  for (const [label, field, text, right] of wrong) {
    await fill(page, { [label]: text });
    await press(dialog, 'Create session');
    await dialog.getByRole('alert').getByText('invalid-argument').waitFor();
    await dialog.getByRole('alert').getByText(`field ${field}`).waitFor();
    const described = dialog.getByLabel(label, { exact: true });
    assert.equal(await described.getAttribute('aria-invalid'), 'true', `${label}: ${text}`);
    await fill(page, { [label]: right });
  }
  // A text that is not Unicode, which the protocol of the browser cannot carry.
  await dialog.getByLabel('Role', { exact: true }).evaluate((field: HTMLInputElement) => {
    field.value = String.fromCharCode(0xd800);
  });
  await press(dialog, 'Create session');
  await dialog.getByRole('alert').getByText('lone surrogate').waitFor();
  await fill(page, { Role: 'worker' });
  await press(dialog, 'Create session');
  await dialog.waitFor({ state: 'detached' });
  await expectFigure(page, 'Active', 1);
  await page.getByText('2×').waitFor();
});

onPage('markup and odd texts are shown as text', async (page) => {
  const markup = '<img src=x onerror=alert(1)>';
  const texts = [markup, '"><script>alert(1)</script>', '\u202egnp.exe', 'x'.repeat(10_000)];
  page.on('dialog', () => assert.fail('a script has run'));
  for (const name of texts) {
    await createSession(page, { Agent: name, Role: 'worker', Scopes: 'memory:read' });
  }
  await createSession(page, { Agent: 'Mallory', Role: markup.slice(0, 64), Scopes: markup.slice(5, 8) });
  await createSession(page, { ...ALICE, Metadata: JSON.stringify({ [markup]: markup }) });
  await expectFigure(page, 'Active', 6);
  assert.equal(await page.locator('main img, main script').count(), 0);
  await panel(page, 'Agents').getByText(markup, { exact: true }).waitFor();
  const excess = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return scrollWidth - clientWidth;
  });
  assert.ok(excess <= 0, `the page is ${excess} px too wide`);
});

onPage('the keyboard alone creates, selects and ends sessions', async (page) => {
  const { keyboard } = page;
  /** Presses Tab until the element with a name has the focus. */
  const tabTo = async (name: RegExp): Promise<void> => {
    for (let presses = 0; presses < 80; presses += 1) {
      const focused = page.locator(':focus');
      if ((await focused.count()) === 1) {
        const text = await focused.evaluate((element) => {
          const labels = element instanceof HTMLInputElement ? [...(element.labels ?? [])] : [];
          const text = [...labels.map((label) => label.innerText), element.textContent];
          return element.getAttribute('aria-label') ?? text.join(' ').trim();
        });
        if (name.test(text)) {
          return;
        }
      }
      await keyboard.press('Tab');
    }
    assert.fail(`Tab does not reach ${name}`);
  };
  await tabTo(/^New session$/);
  await keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  await tabTo(/^Agent/);
  await keyboard.type('Alice');
  await keyboard.press('Enter');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  await expectFigure(page, 'Active', 1);
  await tabTo(/^Load example$/);
  await keyboard.press('Enter');
  await expectFigure(page, 'Active', 11);

  const tree = page.getByRole('tree', { name: 'Delegations' });
  const selected = tree.getByRole('treeitem', { selected: true });
  await page.getByLabel('Hide ended').focus();
  await tabTo(/deployer Forge/);
  await keyboard.press('Home');
  const name = (): Promise<string> => selected.locator('.row-name').first().innerText();
  assert.match(await name(), /worker Alice/);
  await keyboard.press('ArrowDown');
  assert.match(await name(), /coordinator Atlas/);
  await keyboard.press('ArrowRight');
  assert.match(await name(), /researcher Iris/);
  await keyboard.press('ArrowLeft');
  assert.equal(await selected.getAttribute('aria-expanded'), 'false');
  await keyboard.press('ArrowDown');
  assert.match(await name(), /writer Quill/);
  await keyboard.press('ArrowUp');
  await keyboard.press('ArrowUp');
  await keyboard.press('End');
  assert.match(await name(), /deployer Forge/);
  await tabTo(/^Revoke$/);
  await keyboard.press('Space');
  await expectAnswer(page, 'revoke', 'session ended');
  await expectFigure(page, 'Active', 10);
});

onPage('a dialog closes with Escape, and the focus returns', async (page) => {
  const button = panel(page, 'Sessions').getByRole('button', { name: 'New session' });
  await button.focus();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  await page.waitForFunction(() => document.activeElement?.textContent === 'New session');
});

onPage('nothing is stored, and the policy forbids foreign and inline code', async (page) => {
  await loadExample(page);
  const stored = await page.evaluate(async () => ({
    local: localStorage.length,
    session: sessionStorage.length,
    cookies: document.cookie,
    databases: (await indexedDB.databases()).length,
  }));
  assert.deepEqual(stored, { local: 0, session: 0, cookies: '', databases: 0 });
  const answer = await page.request.get(`${bench.origin}/`);
  const policy = answer.headers()['content-security-policy'] ?? '';
  assert.match(policy, /^default-src 'none'; script-src 'self' 'wasm-unsafe-eval';/);
  assert.doesNotMatch(policy, /unsafe-inline|'unsafe-eval'|https?:|\*/);
  const meta = await page.locator('meta[http-equiv="Content-Security-Policy"]').getAttribute('content');
  for (const part of (meta ?? '').split(';').map((part) => part.trim()).filter(Boolean)) {
    assert.ok(policy.includes(part), part);
  }
  assert.ok((meta ?? '').includes("default-src 'none'"));
});
