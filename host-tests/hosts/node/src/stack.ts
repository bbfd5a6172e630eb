/** How many frames a call needs at most: above 64 KiB. V8 compiles a function only with 40 KiB. */
const FRAMES = 1_000;

/**
 * Throws a RangeError unless the stack has room for a call of the component. If the stack overflows
 * inside the component, the instance has to end.
 */
export function requireStack(): void {
  recurse(FRAMES);
}

function recurse(frames: number): number {
  return frames === 0 ? 0 : 1 + recurse(frames - 1);
}
