/** Session management for AI agents: the component of the world `session-sync` for Node.js. */

export * from './browser.js';
export { createAsyncSessions, hasJspi } from './create-async-sessions.js';
export type { AsyncSessionsOptions } from './create-async-sessions.js';
export { HmacGuard } from './hmac-guard.js';
