/** Conformance vectors. `host-tests/vectors/README.md` describes their format. */

import type { Conversation } from './conversation.js';
import type { Json } from './json.js';

interface Exchange {
  send: Json;
  expect: Json;
}

export interface Vector {
  file: string;
  title: string;
  world: string | undefined;
  exchanges: Exchange[];
}

/** Returns the vector in the text of a file. */
export function parseVector(file: string, text: string): Vector {
  const [head, ...exchanges] = text.trimEnd().split('\n').map(parse);
  const { title, world } = head as { title: string; world?: string };
  return { file, title, world, exchanges: exchanges as Exchange[] };
}

/** Returns the value of a JSON text. A number with more than 15 digits becomes a bigint. */
function parse(line: string): unknown {
  const marked = line.replace(/(?<=":)\d{16,}(?=[,}])/g, '"bigint $&"');
  return JSON.parse(marked, (_, value: unknown) => {
    const digits = typeof value === 'string' ? /^bigint (\d+)$/.exec(value)?.[1] : undefined;
    return digits === undefined ? value : BigInt(digits);
  });
}

/**
 * Sends the lines of a vector, and returns how many. Throws an error at the first answer that was
 * not expected.
 */
export async function replay(vector: Vector, conversation: Conversation): Promise<number> {
  const names = new Map<string, Json>();
  let answered = 0;
  for (const [index, { send, expect }] of vector.exchanges.entries()) {
    const line = filledIn(send, names);
    if (typeof line !== 'object' || line === null || Array.isArray(line)) {
      throw new Error(`${vector.file}:${index + 2}: a line that is no object is not supported`);
    }
    const answer = await conversation.answer(line);
    if (!contains(answer, expect, names)) {
      const texts = [line, answer, filledIn(expect, names)].map(shown);
      const [sent, got, expected] = texts;
      const place = `${vector.file}:${index + 2}`;
      throw new Error(`${place}\n  sent     ${sent}\n  answer   ${got}\n  expected ${expected}`);
    }
    answered += 1;
  }
  return answered;
}

/** Returns a value as text. Values of the same type and content have the same text. */
function shown(value: Json | undefined): string | undefined {
  return JSON.stringify(value, (_, item: unknown) =>
    typeof item === 'bigint' ? { bigint: `${item}` } : item,
  );
}

function isName(text: string): boolean {
  return text.startsWith('$') && text !== '$*';
}

/** Returns the value with names replaced by their values. */
function filledIn(value: Json, names: Map<string, Json>): Json {
  if (typeof value === 'string') {
    return isName(value) ? (names.get(value) ?? value) : value;
  }
  if (Array.isArray(value)) {
    return value.map((item) => filledIn(item, names));
  }
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).map(([name, item]) => [name, filledIn(item, names)]);
    return Object.fromEntries(entries) as Json;
  }
  return value;
}

/** Returns whether an answer contains the expected one, and gives new names their values. */
export function contains(
  answer: Json | undefined,
  expected: Json,
  names: Map<string, Json>,
): boolean {
  if (answer === undefined) {
    return false;
  }
  if (typeof expected === 'string' && expected.startsWith('$')) {
    if (!isName(expected)) {
      return true;
    }
    if (!names.has(expected)) {
      names.set(expected, answer);
    }
    return shown(names.get(expected)) === shown(answer);
  }
  if (Array.isArray(expected)) {
    return (
      Array.isArray(answer) &&
      answer.length === expected.length &&
      expected.every((item, index) => contains(answer[index], item, names))
    );
  }
  if (typeof expected === 'object' && expected !== null) {
    return (
      typeof answer === 'object' &&
      answer !== null &&
      !Array.isArray(answer) &&
      Object.entries(expected).every(([name, item]) => contains(answer[name], item, names))
    );
  }
  return answer === expected;
}
