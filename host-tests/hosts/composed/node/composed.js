// The composed component in Node: it imports a clock and random bytes of WASI, and no guard.

import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';

import { instantiate } from './dist/composed.js';

const imports = {
  'wasi:clocks/wall-clock': {
    now() {
      const now = Date.now();
      return { seconds: BigInt(Math.floor(now / 1000)), nanoseconds: (now % 1000) * 1_000_000 };
    },
  },
  'wasi:random/random': {
    getRandomBytes: (length) => new Uint8Array(randomBytes(Number(length))),
  },
};

const modules = new Map();

/** Returns a core module of the component, which is compiled once. */
async function coreModule(name) {
  const compile = async () =>
    WebAssembly.compile(await readFile(new URL(`./dist/${name}`, import.meta.url)));
  if (!modules.has(name)) modules.set(name, compile());
  return modules.get(name);
}

/** Starts an instance without a key and without sessions. */
export const start = () => instantiate(coreModule, imports);
