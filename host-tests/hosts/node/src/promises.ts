/**
 * Returns whether a value is a Promise. Its rejection is ignored, because a rejection that nobody
 * awaits would end the process.
 */
export function ignorePromise(value: unknown): boolean {
  if (!isThenable(value)) {
    return false;
  }
  Promise.resolve(value).catch(() => {});
  return true;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    ((typeof value === 'object' && value !== null) || typeof value === 'function') &&
    'then' in value &&
    typeof value.then === 'function'
  );
}
