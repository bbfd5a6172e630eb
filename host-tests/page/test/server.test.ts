/** The static server, and the headers that the README lists. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { FOLDER, Site, useSite } from './support.js';

const it = useSite();
const read = (file: string): string => readFileSync(path.join(FOLDER, file), 'utf8');

/** Returns the directives of a policy. */
const directives = (policy: string): string[] => policy.split(';').map((text) => text.trim());

test('each file has its type and the headers of the README', async () => {
  const types = {
    '': 'text/html; charset=utf-8',
    'page.js': 'text/javascript; charset=utf-8',
    'page.css': 'text/css; charset=utf-8',
    'icon.svg': 'image/svg+xml',
    'component.core.wasm': 'application/wasm',
  };
  const readme = read('README.md').replace(/\n {6}/g, ' ');
  const documented = [...readme.matchAll(/^ {4}([A-Z][\w-]+): (.+)$/gm)];
  assert.ok(documented.length >= 5);
  for (const [file, type] of Object.entries(types)) {
    const { status, headers } = await fetch(`${it.site.address}${file}`);
    assert.equal(status, 200, file);
    assert.equal(headers.get('Content-Type'), type);
    for (const [, name, value] of documented) {
      assert.equal(headers.get(name ?? ''), value, name);
    }
  }
});

test('the policy in the page is that of the header without frame-ancestors', async () => {
  const { headers } = await fetch(it.site.address);
  const meta = /Content-Security-Policy"\s+content="([^"]+)"/.exec(read('public/index.html'));
  const sent = directives(headers.get('Content-Security-Policy') ?? '');
  assert.deepEqual(
    directives(meta?.[1] ?? ''),
    sent.filter((directive) => !directive.startsWith('frame-ancestors')),
  );
  assert.ok(sent.includes("frame-ancestors 'none'"));
});

test('a port that is taken or none is refused in one line', () => {
  const taken = new URL(it.site.address).port;
  const reasons = [
    [taken, `error: port ${taken} cannot be used: EADDRINUSE\n`],
    ['abc', 'error: "abc" is not a port: give a number from 0 to 65535\n'],
    ['65536', 'error: "65536" is not a port: give a number from 0 to 65535\n'],
    ['', 'error: "" is not a port: give a number from 0 to 65535\n'],
  ] as const;
  for (const [port, reason] of reasons) {
    const options = { cwd: FOLDER, encoding: 'utf8' } as const;
    const { status, stderr } = spawnSync(process.execPath, ['serve.mjs', port], options);
    assert.deepEqual([status, stderr], [1, reason]);
  }
});

test('nothing else is served', async () => {
  const status = async (file: string, method = 'GET'): Promise<number> =>
    (await fetch(`${it.site.address}${file}`, { method })).status;
  for (const file of ['missing.js', '%2e%2e/serve.mjs', 'serve.mjs', 'test/page.test.ts', '..']) {
    const expected = file === '..' ? 200 : 404;
    assert.equal(await status(file), expected, file);
  }
  assert.equal(await status('', 'POST'), 405);
  assert.equal(await status('', 'HEAD'), 200);
});

test('a script that is given as text does not run', async () => {
  const site = await Site.start();
  const page = await site.open();
  const threw = await page.evaluate(() => {
    const script = document.createElement('script');
    try {
      script.textContent = 'globalThis.injected = true';
      document.head.append(script);
    } catch (error) {
      return error instanceof TypeError;
    }
    return false;
  });
  assert.equal(await page.evaluate(() => 'injected' in globalThis), false);
  await site.stop();
  assert.ok(threw);
  // The browser has reported it, so the tests notice violations.
  assert.ok(site.problems.some((problem) => problem.startsWith('console: CSP: ')));
});
