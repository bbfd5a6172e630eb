/** What `npm pack` puts into the package. */

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('../..', import.meta.url));
/** What `build.mjs` makes, in the order in which `check-package.mjs` looks for it. */
const BUILT = [
  'dist/browser.js',
  'dist/index.js',
  'dist/component.core.wasm',
  'dist/types/browser.d.ts',
  'dist/types/index.d.ts',
];
const PACK = ['pack', '--dry-run', '--json'];

test('the package has the code, the component, the types and the licence', () => {
  const output = execFileSync('npm', PACK, { cwd: FOLDER, encoding: 'utf8', stdio: 'pipe' });
  const [{ files }] = JSON.parse(output) as [{ files: { path: string }[] }];
  const names = files.map((file) => file.path);
  for (const name of ['LICENSE', 'package.json', ...BUILT]) {
    assert.ok(names.includes(name), name);
  }
  assert.ok(names.some((name) => /^dist\/.*\.wasm$/.test(name)));
  assert.ok(!names.some((name) => /^(src|test|build)\//.test(name)));
  const licence = (file: string): string => readFileSync(path.join(FOLDER, file), 'utf8');
  assert.equal(licence('LICENSE'), licence('../../../LICENSE'));
});

test('the entry for browsers imports nothing', () => {
  const code = readFileSync(path.join(FOLDER, 'dist/browser.js'), 'utf8');
  assert.ok(!/\bimport\b(?!\.meta)|\bfrom\s*["']|node:/.test(code));
});

test('a package that is not built cannot be packed', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'clawdb-session-'));
  try {
    const copy = (file: string): void => {
      copyFileSync(path.join(FOLDER, file), path.join(folder, file));
    };
    const pack = (): { status: number | null; stderr: string } =>
      spawnSync('npm', PACK, { cwd: folder, encoding: 'utf8' });
    copy('package.json');
    copy('check-package.mjs');
    copy('LICENSE');
    mkdirSync(path.join(folder, 'dist/types'), { recursive: true });
    for (const file of BUILT) {
      const { status, stderr } = pack();
      assert.notEqual(status, 0);
      assert.ok(stderr.includes(`${file} is missing: build the package first`), stderr);
      copy(file);
    }
    assert.equal(pack().status, 0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
