// Builds the static files of the page in `dist/`, and its tests in `build/`: `node build.mjs`.
// The package in `../hosts/node` must be built.

import { copyFile, cp, mkdir, readFile, readdir, rm, symlink } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import { build } from 'esbuild';

process.chdir(path.dirname(fileURLToPath(import.meta.url)));
const PACKAGE = '../hosts/node';

await rm('dist', { recursive: true, force: true });
await rm('build', { recursive: true, force: true });
// npm would record the link in the lock file, with the package's own development tools.
await rm('node_modules/clawdb-session', { force: true });
await symlink(path.resolve(PACKAGE), 'node_modules/clawdb-session', 'dir');

const browser = {
  bundle: true,
  format: 'esm',
  target: 'es2022',
  conditions: ['browser'],
  jsx: 'automatic',
  jsxImportSource: 'preact',
  logLevel: 'warning',
};
await mkdir('dist');
await cp('public', 'dist', { recursive: true });
await build({
  ...browser,
  entryPoints: { page: 'src/main.tsx' },
  outdir: 'dist',
  minify: true,
});
await build({
  entryPoints: { page: 'src/styles/page.css' },
  outdir: 'dist',
  bundle: true,
  minify: true,
});
const modules = (await readdir(`${PACKAGE}/dist`)).filter((file) => file.endsWith('.wasm'));
for (const module of modules) {
  await copyFile(`${PACKAGE}/dist/${module}`, `dist/${module}`);
}

// What the tests load beside the page, and the tests themselves.
await build({
  ...browser,
  entryPoints: { vectors: 'test/browser/vectors.ts' },
  outdir: 'build/browser',
});
await cp('test/browser/vectors.html', 'build/browser/vectors.html');
await build({
  bundle: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  target: 'node20',
  entryPoints: ['test/*.ts'],
  outdir: 'build/test',
  logLevel: 'warning',
});

for (const file of (await readdir('dist')).sort()) {
  const bytes = await readFile(`dist/${file}`);
  console.log(`${file}: ${bytes.length} bytes, ${gzipSync(bytes).length} gzipped`);
}
