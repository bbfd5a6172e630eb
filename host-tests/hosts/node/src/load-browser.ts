/** Fetches the core modules of the component. `build.mjs` puts it in place of `load.ts`. */

import { modules } from './modules.js';

/** The addresses of the files. Bundlers find a file that is named in this form. */
const ADDRESSES: Record<string, URL> = {
  'component.core.wasm': new URL('./component.core.wasm', import.meta.url),
  'component.core2.wasm': new URL('./component.core2.wasm', import.meta.url),
  'component.core3.wasm': new URL('./component.core3.wasm', import.meta.url),
};

/** Returns a core module of the component. The server must send it as `application/wasm`. */
export const coreModule = modules(async (file) => {
  const address = ADDRESSES[file];
  if (address === undefined) {
    throw new Error(`the address of ${file} is missing`);
  }
  const response = await fetch(address);
  if (!response.ok) {
    throw new Error(`${address.href} cannot be loaded: status ${response.status}`);
  }
  return WebAssembly.compileStreaming(response);
});
