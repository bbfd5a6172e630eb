/** Session management for AI agents: the component of the world `session-sync` for browsers. */

export { createSessions } from './create-sessions.js';
export type { SessionsOptions } from './create-sessions.js';
export * from './errors.js';
export type * from './guard.js';
export { GuardBroken, GuardError } from './guard-error.js';
export type { GuardErrorKind, GuardErrorWithReason } from './guard-error.js';
export type { CommonOptions } from './options.js';
export type { Clock, Entropy } from './ports.js';
export type * from './sessions.js';
export type * from './types.js';
