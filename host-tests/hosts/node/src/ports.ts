/** The clock and the random source of the component. They never throw. */

import { checkFunction } from './checks.js';
import { ArgumentRangeError, ArgumentTypeError } from './errors.js';
import { ignorePromise } from './promises.js';

/** Returns the time in milliseconds since 1970-01-01T00:00:00Z. */
export type Clock = () => number;

/** Returns at most this many random bytes. */
export type Entropy = (length: number) => Uint8Array;

/** The times that a clock can have when it is given: the years 2020 to 9999. */
const FIRST_TIME = Date.UTC(2020, 0);
const LAST_TIME = Date.UTC(10_000, 0) - 1;
/** The most random bytes of one answer. The component asks again if it needs more. */
const MAX_BYTES = 4_096;

/** The system's random bytes. */
export const systemEntropy: Entropy = (length) => crypto.getRandomValues(new Uint8Array(length));

/** A time as WASI 0.2 has it. */
interface Datetime {
  seconds: bigint;
  nanoseconds: number;
}

/**
 * Reads a clock once. Throws an error if it gives no time in milliseconds, because no session would
 * expire by a clock in seconds. A clock that throws is accepted: its readings count as failed.
 */
export function checkClock(clock: unknown): asserts clock is Clock {
  checkFunction(clock, 'clock');
  let reading: unknown;
  try {
    reading = (clock as Clock)();
    ignorePromise(reading);
  } catch {
    return;
  }
  if (typeof reading !== 'number') {
    throw new ArgumentTypeError('clock', 'must return a number of milliseconds since 1970');
  }
  if (!(reading >= FIRST_TIME && reading <= LAST_TIME)) {
    const reason = `must return milliseconds since 1970 from 2020 to 9999, not ${reading}`;
    throw new ArgumentRangeError('clock', reason);
  }
}

/**
 * Returns a clock of WASI. A reading that is no time after 1970 becomes 1970, which the component
 * counts as a failed reading. So does a clock that throws.
 */
export function wallClock(clock: Clock): () => Datetime {
  return () => {
    let millis: unknown;
    try {
      millis = clock();
      ignorePromise(millis);
    } catch {
      millis = undefined;
    }
    if (typeof millis !== 'number' || !(millis > 0)) {
      return { seconds: 0n, nanoseconds: 0 };
    }
    const whole = Math.floor(Math.min(millis, Number.MAX_SAFE_INTEGER));
    const milliseconds = whole % 1_000;
    return {
      seconds: BigInt((whole - milliseconds) / 1_000),
      nanoseconds: milliseconds * 1_000_000,
    };
  };
}

/** Returns a random source of WASI. It gives no bytes if the source throws or answers nonsense. */
export function randomBytes(entropy: Entropy): (length: bigint) => Uint8Array {
  return (length) => {
    const most = Number(length) < MAX_BYTES ? Number(length) : MAX_BYTES;
    try {
      const bytes: unknown = entropy(most);
      if (bytes instanceof Uint8Array) {
        return new Uint8Array(bytes.subarray(0, most));
      }
      ignorePromise(bytes);
    } catch {
      // The component reports `entropy-unavailable`.
    }
    return new Uint8Array();
  };
}
