// Prints the microseconds of a `validate` on this runtime, the fastest of several rounds.

import { HmacGuard, createAsyncSessions, createSessions, hasJspi } from 'clawdb-session';

import { PlainGuard, measure } from './measure.js';

/** The most microseconds of a `validate` with the plain guard. */
const MOST = 45;

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
