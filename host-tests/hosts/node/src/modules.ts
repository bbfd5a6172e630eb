/** Returns a function that compiles each core module of the component once. */
export function modules(
  compile: (file: string) => Promise<WebAssembly.Module>,
): (file: string) => Promise<WebAssembly.Module> {
  const compiled = new Map<string, Promise<WebAssembly.Module>>();
  return (file) => {
    let module = compiled.get(file);
    if (module === undefined) {
      module = compile(file);
      compiled.set(file, module);
      // A later call tries again.
      module.catch(() => compiled.delete(file));
    }
    return module;
  };
}
