/** The answers of the sessions as JSON, in the form of the vectors. */

import { type AnySessionError, GuardError, HostError, SessionError } from 'clawdb-session';

import { kebabCase } from '../../src/names.js';

export type Json = null | boolean | number | bigint | string | Json[] | { [name: string]: Json };

/** The members that are times. */
const TIMES = new Set(['createdAt', 'expiresAt', 'time', 'now', 'forgetAt']);

/** Returns an answer as JSON. */
export function toJson(value: unknown, name = ''): Json {
  if (value === undefined || value === null) {
    return null;
  }
  if (value instanceof Error) {
    return errorJson(value);
  }
  if (Array.isArray(value)) {
    return value.map((item) => (item instanceof SessionError ? err(item) : toJson(item)));
  }
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      return TIMES.has(name) ? rfc3339(value) : value;
    case 'bigint':
      // Runs of events have 64 bits.
      return value.toString(16).padStart(16, '0');
    case 'object':
      return members(value);
    default:
      throw new Error(`${name} is a ${typeof value}`);
  }
}

/** Returns the results of a batch, each in the form of an answer. */
export function resultsJson(results: unknown[]): Json {
  return results.map((result) => (result instanceof Error ? err(result) : { ok: toJson(result) }));
}

/** Returns the answer for an error. */
export function err(error: Error): Json {
  return { err: errorJson(error) };
}

function errorJson(error: Error): Json {
  if (error instanceof GuardError) {
    const { kind, reason } = error;
    return reason === undefined ? { kind } : { kind, reason };
  }
  if (error instanceof HostError) {
    return { kind: error.kind, reason: error.message };
  }
  if (error instanceof SessionError) {
    return sessionErrorJson(error as AnySessionError);
  }
  throw error;
}

function sessionErrorJson(error: AnySessionError): Json {
  const { kind } = error;
  switch (kind) {
    case 'invalid-argument':
      return { kind, field: kebabCase(error.field), reason: error.reason };
    case 'limit-reached':
      return { kind, which: error.limit };
    case 'scope-denied':
      return { kind, scope: error.scope };
    case 'guard':
      return { kind, error: errorJson(error.guardError) };
    case 'refused-record':
      return { kind, key: error.key, reason: error.reason };
    case 'collision':
      return { kind, which: error.duplicate };
    case 'clock-behind':
      return { kind, lag: error.lag };
    default:
      return { kind };
  }
}

function members(value: object): Json {
  const json: { [name: string]: Json } = {};
  for (const [name, member] of Object.entries(value)) {
    json[kebabCase(name)] = toJson(member, name);
  }
  return json;
}

function rfc3339(millis: number): string {
  return new Date(millis).toISOString().replace('.000Z', 'Z');
}
