// Throws an error unless `build.mjs` has made all that the package consists of.

import { readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = path.dirname(fileURLToPath(import.meta.url));

for (const [where, name] of [
  ['.', 'LICENSE'],
  ['dist', 'browser.js'],
  ['dist', 'index.js'],
  ['dist', 'component.core.wasm'],
  ['dist/types', 'browser.d.ts'],
  ['dist/types', 'index.d.ts'],
]) {
  if (!names(path.join(folder, where)).includes(name)) {
    const file = path.posix.join(where, name);
    throw new Error(`${file} is missing: build the package first (node build.mjs FILE)`);
  }
}

function names(folder) {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
