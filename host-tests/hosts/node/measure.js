// Measures a `validate`, in Node.js and in browsers.

const ROUNDS = 20;
const CALLS = 2_000;

/** A guard that does almost nothing, so that only the component and the wrapper are measured. */
export class PlainGuard {
  #tokens = new Map();

  issueSessionToken({ expiresAt }) {
    const token = crypto.randomUUID();
    this.#tokens.set(token, expiresAt);
    return { token, handle: `handle of ${token}`, expiresAt };
  }

  validateToken(token) {
    return { handle: `handle of ${token}`, expiresAt: this.#tokens.get(token) };
  }

  revokeToken() {}
}

/** Returns the microseconds of a `validate`, the fastest of several rounds. */
export async function measure(create, guard) {
  const sessions = await create({ guard });
  const request = {
    agentId: '7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f',
    role: 'worker',
    scopes: ['memory:read'],
  };
  const { token } = await sessions.create(request);
  let fastest = Infinity;
  for (let round = 0; round < ROUNDS; round += 1) {
    const start = performance.now();
    for (let call = 0; call < CALLS; call += 1) {
      const session = sessions.validate(token);
      if (session instanceof Promise) {
        await session;
      }
    }
    fastest = Math.min(fastest, (performance.now() - start) / CALLS);
  }
  sessions.close();
  return fastest * 1_000;
}
