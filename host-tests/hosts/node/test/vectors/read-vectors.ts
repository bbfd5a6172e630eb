import { readFileSync, readdirSync } from 'node:fs';

import { type Vector, parseVector } from './vector.js';

/** Returns the vectors in a folder that the world `session-sync` has, in order of their numbers. */
export function readVectors(folder: URL): Vector[] {
  const files = readdirSync(folder).filter((file) => file.endsWith('.jsonl'));
  return files
    .sort()
    .map((file) => parseVector(file, readFileSync(new URL(file, folder), 'utf8')))
    .filter(({ world }) => world !== 'session');
}
