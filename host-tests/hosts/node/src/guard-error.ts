/** The kinds of a guard's errors. */
export type GuardErrorKind = 'invalid-token' | 'expired' | 'revoked' | 'denied' | 'unavailable';

/** The kinds of a guard's errors that have a reason. */
export type GuardErrorWithReason = 'denied' | 'unavailable';

/**
 * An answer of a guard that is no success. A guard throws it, or returns it for an item of a batch.
 *
 * - `invalid-token`: the token or handle is not one of this guard's.
 * - `expired`, `revoked`: the token has expired, or was revoked.
 * - `denied`: the guard refuses. A retry does not help.
 * - `unavailable`: the guard cannot answer, or its answer is unusable. A retry may succeed.
 */
export class GuardError extends Error {
  override readonly name = 'GuardError';
  readonly kind: GuardErrorKind;
  /** A reason for people. Only `denied` and `unavailable` have one. */
  readonly reason: string | undefined;

  constructor(kind: Exclude<GuardErrorKind, GuardErrorWithReason>, reason?: undefined);
  constructor(kind: GuardErrorWithReason, reason: string, options?: ErrorOptions);
  constructor(kind: GuardErrorKind, reason?: string, options?: ErrorOptions) {
    super(reason === undefined ? kind : `${kind}: ${reason}`, options);
    this.kind = kind;
    this.reason = reason;
  }
}

/**
 * The guard is broken and must not be used any further. If a guard throws it, the instance ends and
 * its sessions are lost. Any other exception of a guard counts as `unavailable`.
 */
export class GuardBroken extends Error {
  override readonly name = 'GuardBroken';
}
