import { readFile } from 'node:fs/promises';

const modules = new Map<string, Promise<WebAssembly.Module>>();

/** Returns a core module of the component, which lies beside the bundled code. */
export function coreModule(file: string): Promise<WebAssembly.Module> {
  let module = modules.get(file);
  if (module === undefined) {
    module = compile(file);
    modules.set(file, module);
    // A later call tries again.
    module.catch(() => modules.delete(file));
  }
  return module;
}

async function compile(file: string): Promise<WebAssembly.Module> {
  return WebAssembly.compile(await readFile(new URL(file, import.meta.url)));
}
