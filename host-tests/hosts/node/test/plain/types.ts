/**
 * Uses the package's types in a program without the library `dom` and without `@types/node`. It is
 * compiled and not run.
 */

import { type AsyncGuard, type AsyncSessions, createAsyncSessions } from 'clawdb-session';

export const guard: AsyncGuard = {
  issueSessionToken: ({ expiresAt }) => ({ token: 't', handle: 'h', expiresAt }),
  validateToken: async (_token, signal) => {
    signal.addEventListener('abort', () => {});
    return { handle: signal.aborted ? 'late' : 'h', expiresAt: 0 };
  },
  revokeToken: async () => {},
};

export async function start(): Promise<AsyncSessions> {
  return createAsyncSessions({ guard });
}
