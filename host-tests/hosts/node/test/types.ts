/** Uses the package's types as a strict program does. It is compiled and not run. */

import {
  type AnySessionError,
  type AsyncGuard,
  type Claims,
  type Guard,
  GuardError,
  type Session,
  SessionError,
  createAsyncSessions,
  createSessions,
} from 'clawdb-session';

const guard: Guard = {
  issueSessionToken: ({ expiresAt }) => ({ token: 't', handle: 'h', expiresAt }),
  validateToken: () => ({ handle: 'h', expiresAt: Date.now() }),
  revokeToken: () => {},
};

// @ts-expect-error: a guard of createSessions answers at once.
export const waits: Guard = { ...guard, validateToken: async (): Promise<Claims> => claims };
export const passesSignal: AsyncGuard = {
  ...guard,
  revokeToken: async (handle, signal) => {
    await fetch(`https://guard.example/${handle}`, { method: 'DELETE', signal });
  },
};
export const mayWait: AsyncGuard = { ...guard, validateToken: async () => claims };
declare const claims: Claims;

// @ts-expect-error: a guard has three functions.
export const incomplete: Guard = { validateToken: guard.validateToken };

// @ts-expect-error: `denied` has a reason.
export const denied = new GuardError('denied');
// @ts-expect-error: `expired` has none.
export const expired = new GuardError('expired', 'too late');

export async function sync(): Promise<string | undefined> {
  const sessions = await createSessions({ guard, config: { maxSessions: 10 } });
  // @ts-expect-error: a request has an agent and a role.
  sessions.create({ role: 'worker' });
  // @ts-expect-error: the field is named `expiresIn`.
  sessions.create({ agentId: 'a', role: 'worker', expires_in: 60 });
  // @ts-expect-error: a filter names a role or a root.
  sessions.revokeAll('all');
  // @ts-expect-error: a limit is a number of 32 bits.
  sessions.pollEvents(0, 10n);
  const { session, token } = sessions.create({ agentId: 'a', role: 'worker', expiresIn: 60n });
  const expiresAt: number = session.expiresAt;
  const usesLeft: number | undefined = session.usesLeft;
  const run: bigint = sessions.pollEvents(0, 10).run;
  const results: (Session | AnySessionError)[] = sessions.validateMany([token]);
  for (const event of sessions.pollEvents(0, 10).events) {
    if (event.kind === 'ended') {
      const reason: 'theft' | 'idle' | string = event.reason;
      return reason;
    }
    // @ts-expect-error: only an end or a denial has a reason.
    if (event.kind === 'created' && event.reason === 'idle') {
      return undefined;
    }
  }
  return [expiresAt, usesLeft, run, results].join();
}

export async function waiting(): Promise<number> {
  const sessions = await createAsyncSessions({ guard: mayWait, guardDeadline: 1_000 });
  // @ts-expect-error: the methods return Promises.
  const count: number = sessions.activeCount();
  return count + (await sessions.activeCount());
}

/** A `switch` over the kinds of the errors knows the payload of each. */
export function describe(error: AnySessionError): string {
  switch (error.kind) {
    case 'invalid-argument':
      return `${error.field} ${error.reason}`;
    case 'limit-reached':
      return error.limit;
    case 'guard':
      return error.guardError.kind;
    case 'clock-behind':
      return `${error.lag + 1} ms`;
    case 'conflict':
      // @ts-expect-error: a conflict has no payload.
      return error.reason;
    default:
      return error instanceof SessionError ? error.message : error;
  }
}
