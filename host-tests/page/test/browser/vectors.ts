/** Replays conformance vectors and measures, in the browser, for `vectors.test.ts`. */

import { createSessions } from 'clawdb-session';

import { PlainGuard, measure } from '../../../hosts/node/measure.js';
import { Conversation } from '../../../hosts/node/test/vectors/conversation.js';
import { parseVector, replay } from '../../../hosts/node/test/vectors/vector.js';
import { PageGuard } from '../../src/guard.js';

/** What the test calls. */
export interface VectorTools {
  /** Replays a vector, and returns how many exchanges it has. */
  replay(file: string, text: string): Promise<number>;
  /** Returns the microseconds of a `validate`, with a plain guard and with that of the page. */
  measure(): Promise<{ plain: number; page: number }>;
}

const tools: VectorTools = {
  async replay(file, text) {
    const conversation = await Conversation.start({
      start: createSessions,
      guard: (clock) => new PageGuard(clock),
    });
    return replay(parseVector(file, text), conversation);
  },
  async measure() {
    return {
      plain: await measure(createSessions, new PlainGuard()),
      page: await measure(createSessions, new PageGuard(Date.now)),
    };
  },
};

Object.assign(globalThis, { vectorTools: tools });
