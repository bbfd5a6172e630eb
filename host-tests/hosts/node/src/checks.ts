import { ArgumentRangeError, ArgumentTypeError, InvalidArgumentError } from './errors.js';

/** The largest number of a `u32`. */
export const MAX_U32 = 2 ** 32 - 1;
/** The longest text that the component gets, in UTF-16 code units. Its own bounds are smaller. */
export const MAX_TEXT = 2 ** 20;

/** Returns the value if it is a text that UTF-8 can represent and that is not too long. */
export function text(value: unknown, path: string): string {
  if (typeof value !== 'string') {
    throw new ArgumentTypeError(path, `must be a string, not ${typeName(value)}`);
  }
  if (value.length > MAX_TEXT) {
    const reason = `has ${value.length} code units, and at most ${MAX_TEXT} are accepted`;
    throw new InvalidArgumentError(path, reason);
  }
  if (!value.isWellFormed()) {
    throw new InvalidArgumentError(path, 'must have no lone surrogate');
  }
  return value;
}

/** Returns the value if it is a whole number from 0 to 2^32 - 1. */
export function u32(value: unknown, path: string): number {
  return wholeNumber(value, path, MAX_U32, '2^32 - 1');
}

/** Returns the value as a `u64`: a whole number from 0 to 2^53 - 1, or a bigint below 2^64. */
export function u64(value: unknown, path: string): bigint {
  if (typeof value === 'bigint') {
    if (value !== BigInt.asUintN(64, value)) {
      throw new ArgumentRangeError(path, 'must be from 0 to 2^64 - 1');
    }
    return value;
  }
  return BigInt(wholeNumber(value, path, Number.MAX_SAFE_INTEGER, '2^53 - 1'));
}

function wholeNumber(value: unknown, path: string, max: number, name: string): number {
  if (typeof value !== 'number') {
    throw new ArgumentTypeError(path, `must be a number, not ${typeName(value)}`);
  }
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw new ArgumentRangeError(path, `must be a whole number from 0 to ${name}`);
  }
  return value;
}

/** Returns `undefined` for `undefined` and `null`, and otherwise the checked value. */
export function optional<T>(
  value: unknown,
  path: string,
  check: (value: unknown, path: string) => T,
): T | undefined {
  return value === undefined || value === null ? undefined : check(value, path);
}

/** Returns a copy of the list with each item checked. `max` limits the length of all texts. */
export function list<T>(
  value: unknown,
  path: string,
  check: (value: unknown, path: string) => T,
  size: (item: T) => number,
  max = MAX_TEXT,
): T[] {
  if (!Array.isArray(value)) {
    throw new ArgumentTypeError(path, `must be an array, not ${typeName(value)}`);
  }
  const items: T[] = [];
  // Each item takes some bytes in the component's memory, whatever its length.
  let total = 0;
  for (const item of value as unknown[]) {
    const checked = check(item, `${path}[${items.length}]`);
    total += size(checked) + 8;
    if (total > max) {
      throw new InvalidArgumentError(path, `has more than ${max} code units`);
    }
    items.push(checked);
  }
  return items;
}

/** Returns a copy of the bytes. */
export function bytes(value: unknown, path: string): Uint8Array {
  if (!(value instanceof Uint8Array)) {
    throw new ArgumentTypeError(path, `must be a Uint8Array, not ${typeName(value)}`);
  }
  if (value.length > MAX_TEXT) {
    const reason = `has ${value.length} bytes, and at most ${MAX_TEXT} are accepted`;
    throw new InvalidArgumentError(path, reason);
  }
  return new Uint8Array(value);
}

/** Throws `ArgumentTypeError` if the value is no function. */
export function checkFunction(value: unknown, path: string): void {
  if (typeof value !== 'function') {
    throw new ArgumentTypeError(path, `must be a function, not ${typeName(value)}`);
  }
}

/** The fields of an object argument. */
export type Fields<K extends string> = { readonly [field in K]?: unknown };

/** Returns the value if it is an object that has no other fields than these. */
export function object<K extends string>(
  value: unknown,
  path: string,
  fields: readonly K[],
): Fields<K> {
  if (typeof value !== 'object' || value === null) {
    throw new ArgumentTypeError(path, `must be an object, not ${typeName(value)}`);
  }
  for (const field of Object.keys(value)) {
    if (!(fields as readonly string[]).includes(field)) {
      const name = JSON.stringify(field.slice(0, 64));
      const reason = `has the unknown field ${name}; the fields are ${fields.join(', ')}`;
      throw new ArgumentTypeError(path, reason);
    }
  }
  return value;
}

/** Returns the value if it is one of these texts. */
export function oneOf<T extends string>(value: unknown, path: string, choices: readonly T[]): T {
  const choice = choices.find((choice) => choice === value);
  if (choice === undefined) {
    throw new ArgumentTypeError(path, `must be one of ${choices.join(', ')}`);
  }
  return choice;
}

function typeName(value: unknown): string {
  if (value === null) {
    return 'null';
  }
  return Array.isArray(value) ? 'an array' : typeof value;
}
