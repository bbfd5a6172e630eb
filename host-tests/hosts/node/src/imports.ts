/** Checks the options of an instance and makes its imports. */

import { checkFunction } from './checks.js';
import type * as component from './component.js';
import { ArgumentTypeError } from './errors.js';
import type { CommonOptions } from './options.js';
import { checkClock, randomBytes, systemEntropy, wallClock } from './ports.js';

/** Returns the imports of the component except the guard. */
export function ambientImports(options: CommonOptions): component.AmbientImports {
  const { clock = Date.now, entropy = systemEntropy } = options;
  checkClock(clock);
  checkFunction(entropy, 'entropy');
  return {
    'wasi:clocks/wall-clock': { now: wallClock(clock) },
    'wasi:random/random': { getRandomBytes: randomBytes(entropy) },
  };
}

/** Throws `ArgumentTypeError` if the value lacks a function of a guard. */
export function checkGuard(guard: unknown): void {
  if (typeof guard !== 'object' || guard === null) {
    throw new ArgumentTypeError('guard', 'must be an object with the functions of a guard');
  }
  const functions = guard as Record<string, unknown>;
  for (const name of ['issueSessionToken', 'validateToken', 'revokeToken']) {
    checkFunction(functions[name], `guard.${name}`);
  }
  for (const name of ['validateTokens', 'revokeTokens']) {
    if (functions[name] !== undefined) {
      checkFunction(functions[name], `guard.${name}`);
    }
  }
}
