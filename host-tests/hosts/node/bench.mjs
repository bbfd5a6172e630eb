// Prints the microseconds of a `validate` on this runtime, the fastest of several rounds.

import { HmacGuard, createAsyncSessions, createSessions, hasJspi } from 'clawdb-session';

/** The most microseconds of a `validate` with the plain guard. */
const MOST = 45;
const ROUNDS = 20;
const CALLS = 2_000;

/** A guard that does almost nothing, so that only the component and the wrapper are measured. */
class PlainGuard {
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

/** Returns the microseconds of a `validate`. */
async function measure(create, guard) {
  const sessions = await create({ guard });
  const request = {
    agentId: '7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f',
    role: 'worker',
    scopes: ['memory:read'],
  };
  const { token } = await sessions.create(request);
  const waits = create === createAsyncSessions;
  let fastest = Infinity;
  for (let round = 0; round < ROUNDS; round += 1) {
    const start = performance.now();
    for (let call = 0; call < CALLS; call += 1) {
      const session = sessions.validate(token);
      if (waits) {
        await session;
      }
    }
    fastest = Math.min(fastest, (performance.now() - start) / CALLS);
  }
  sessions.close();
  return fastest * 1_000;
}

const secret = crypto.getRandomValues(new Uint8Array(32));
const plain = await measure(createSessions, new PlainGuard());
const figures = [
  ['plain guard', plain],
  ['HMAC guard', await measure(createSessions, new HmacGuard(secret))],
];
if (hasJspi()) {
  figures.push(['plain guard with JSPI', await measure(createAsyncSessions, new PlainGuard())]);
}
const texts = figures.map(([name, figure]) => `${name} ${figure.toFixed(1)}`);
console.log(`us per validate on Node.js ${process.version}: ${texts.join(', ')}`);
if (plain > MOST) {
  throw new Error(`a validate takes more than ${MOST} us`);
}
