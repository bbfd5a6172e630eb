/** Reads the core modules of the component, which lie beside the bundled code, in Node.js. */

import { readFile } from 'node:fs/promises';

import { modules } from './modules.js';

/** Returns a core module of the component. */
export const coreModule = modules(async (file) =>
  WebAssembly.compile(await readFile(new URL(file, import.meta.url))),
);
