// Builds `dist/` from the component: `node build.mjs session-sync.wasm`.
//
// jco translates the component to JavaScript and core modules, once with plain functions and once
// with functions that can suspend (JSPI). esbuild bundles that with `src/`, once for Node.js and
// once for browsers.

import { spawnSync } from 'node:child_process';
import { copyFile, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { gzipSync } from 'node:zlib';

import { transpile } from '@bytecodealliance/jco';
import { build } from 'esbuild';

import { kebabCase } from './src/names.js';

/** The most bytes of the code of an entry after gzip, without the core modules. */
const MAX_GZIPPED = 40 * 1024;

const WORLD = 'clawdb:session-sync';
const VERSION = '0.1.0';
const GUARD = ['issue-session-token', 'validate-token', 'validate-tokens', 'revoke-tokens'];

process.chdir(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname));
const [componentFile] = process.argv.slice(2);
if (componentFile === undefined) {
  throw new Error('usage: node build.mjs session-sync.wasm');
}
const component = await readFile(componentFile);

await rm('build', { recursive: true, force: true });
await rm('dist', { recursive: true, force: true });

const options = {
  name: 'component',
  instantiation: 'async',
  nodejsCompat: false,
  validLiftingOptimization: true,
};
const sync = await translate(options);
await write('build/sync', sync);
const jspi = await translate({
  ...options,
  typescript: false,
  asyncMode: 'jspi',
  asyncImports: GUARD.map((name) => `${WORLD}/guard@${VERSION}#${name}`),
  asyncExports: exportsOf(sync),
});
await write('build/jspi', jspi);
// The functions have the same types, except that they return Promises.
await writeFile('build/jspi/component.d.ts', "export * from '../sync/component.js';\n");
await checkModules();

const shared = {
  platform: 'node',
  format: 'esm',
  target: 'node20',
  logLevel: 'warning',
};
const bundled = {
  ...shared,
  outdir: 'dist',
  bundle: true,
  splitting: true,
  minify: true,
  sourcemap: false,
  metafile: true,
  inject: ['src/text-decoder.js'],
};
/** Puts `load-browser.ts` in place of `load.ts`. */
const fetchModules = {
  name: 'fetch-modules',
  setup({ onResolve }) {
    onResolve({ filter: /^\.\/load\.js$/ }, () => ({ path: path.resolve('src/load-browser.ts') }));
  },
};
const entries = {
  'Node.js': await build({ ...bundled, entryPoints: ['src/index.ts'] }),
  browsers: await build({
    ...bundled,
    platform: 'browser',
    target: 'es2022',
    entryPoints: ['src/browser.ts'],
    plugins: [fetchModules],
  }),
};
// The bill of materials lists these packages.
const inputs = Object.values(entries).map(({ metafile }) => metafile.inputs);
await writeFile('build/bundled.json', JSON.stringify(bundledPackages(inputs)));
await write(
  'dist',
  sync.filter(([name]) => name.endsWith('.wasm')),
);
await copyFile('../../../LICENSE', 'LICENSE');
run('node_modules/typescript/bin/tsc', '--project', 'tsconfig.types.json');
await dropInternalTypes('dist/types');
await build({
  ...shared,
  entryPoints: (await testFiles()).map((file) => `test/${file}`),
  outdir: 'build/test',
});
// Some tests use modules that the package does not export.
await build({
  ...shared,
  entryPoints: ['src/*.ts', 'src/*.js'],
  outdir: 'build/src',
});
for (const [name, { metafile }] of Object.entries(entries)) {
  await reportSize(name, Object.keys(metafile.outputs));
}

/** Returns the names and bytes of the files that jco generates. */
async function translate(options) {
  const { files } = await transpile(component, options);
  return Object.entries(files);
}

/** Writes files into a folder. */
async function write(folder, files) {
  for (const [name, bytes] of files) {
    const file = path.join(folder, name);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, bytes);
  }
}

/** Returns the names of all functions of the component, from the types that jco generated. */
function exportsOf(files) {
  const types = new RegExp(`${WORLD.replace(':', '-')}-(\\w+)\\.d\\.ts$`);
  return files.flatMap(([name, bytes]) => {
    const found = types.exec(name)?.[1];
    if (found === undefined || found === 'guard') {
      return [];
    }
    const text = new TextDecoder().decode(bytes);
    const functions = [...text.matchAll(/export function (\w+)\(/g)].map(([, name]) => name);
    return functions.map((name) => `${WORLD}/${found}@${VERSION}#${kebabCase(name)}`);
  });
}

/** Checks that both translations have the same core modules, because `dist/` has them once. */
async function checkModules() {
  const modules = (await readdir('build/sync')).filter((file) => file.endsWith('.wasm'));
  for (const file of modules) {
    const [one, other] = await Promise.all(
      ['sync', 'jspi'].map((folder) => readFile(path.join('build', folder, file))),
    );
    if (!one.equals(other)) {
      throw new Error(`the translations have different modules ${file}`);
    }
  }
}

/** Deletes the types that the package does not export. */
async function dropInternalTypes(folder) {
  const files = new Set(['browser.d.ts', 'index.d.ts']);
  for (const file of files) {
    const text = await readFile(path.join(folder, file), 'utf8');
    for (const [, name] of text.matchAll(/from '\.\/([\w-]+)\.js'/g)) {
      files.add(`${name}.d.ts`);
    }
  }
  for (const file of await readdir(folder)) {
    if (!files.has(file)) {
      await rm(path.join(folder, file));
    }
  }
}

/** Returns the names of the packages whose code is in `dist/`: jco, and those of its inputs. */
function bundledPackages(inputs) {
  const names = inputs.flatMap(Object.keys).flatMap((file) => {
    const name = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1];
    return name === undefined ? [] : [name];
  });
  return [...new Set(['@bytecodealliance/jco', ...names])].sort();
}

async function testFiles() {
  const files = await readdir('test', { recursive: true });
  return files.filter((file) => file.endsWith('.ts'));
}

/** Prints the size of the code that an entry consists of. Throws an error if it is too large. */
async function reportSize(name, files) {
  const sizes = await Promise.all(files.map(async (file) => gzipSync(await readFile(file)).length));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const most = `at most ${MAX_GZIPPED}`;
  console.log(`size for ${name}: ${total} bytes gzipped without the core modules, ${most}`);
  if (total > MAX_GZIPPED) {
    throw new Error(`the code for ${name} is too large`);
  }
}

function run(...args) {
  const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' });
  if (status !== 0) {
    process.exit(1);
  }
}
