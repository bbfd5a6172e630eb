import type { Clock, Entropy } from './ports.js';
import type { Config } from './types.js';

/** The options of every instance. */
export interface CommonOptions {
  /** The limits. Without it the defaults apply, and `configure` can be called later. */
  config?: Config | undefined;
  /** Returns the time in milliseconds since 1970; `Date.now` by default. */
  clock?: Clock | undefined;
  /** Returns at most this many random bytes; the system's by default. */
  entropy?: Entropy | undefined;
}
