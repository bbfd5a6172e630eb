/** The arguments of operations, checked and converted for the component. */

import type * as component from './component.js';
import { bytes, list, object, oneOf, optional, text, u32, u64 } from './checks.js';
import { ArgumentTypeError, InvalidArgumentError } from './errors.js';

/** The longest records of a `restore`, and the longest tokens of a `validateMany`. */
const MAX_LARGE_LIST = 2 ** 24;

const length = (text: string): number => text.length;

export function texts(value: unknown, path: string): string[] {
  return list(value, path, text, length);
}

/** The tokens of a batch, and the errors of those that cannot be passed to the component. */
export interface Tokens {
  /** An empty text, which is no valid token, stands for a token that has an error. */
  texts: string[];
  /** The errors by the tokens' indexes. */
  errors: Map<number, InvalidArgumentError>;
}

/** Checks the tokens of a batch. One that is too long or malformed costs the others nothing. */
export function tokens(value: unknown): Tokens {
  const errors = new Map<number, InvalidArgumentError>();
  let index = 0;
  const token = (value: unknown, path: string): string => {
    try {
      return text(value, path);
    } catch (error) {
      if (!(error instanceof InvalidArgumentError)) {
        throw error;
      }
      errors.set(index, error);
      return '';
    } finally {
      index += 1;
    }
  };
  return { texts: list(value, 'tokens', token, length, MAX_LARGE_LIST), errors };
}

export function createRequest(value: unknown): component.CreateRequest {
  const request = object(value, 'request', [
    'agentId',
    'role',
    'scopes',
    'taskType',
    'expiresIn',
    'metadata',
    'maxUses',
  ]);
  return {
    agentId: text(request.agentId, 'agentId'),
    role: text(request.role, 'role'),
    scopes: optional(request.scopes, 'scopes', texts) ?? [],
    taskType: optional(request.taskType, 'taskType', text),
    expiresIn: optional(request.expiresIn, 'expiresIn', u64),
    metadata: optional(request.metadata, 'metadata', text),
    maxUses: optional(request.maxUses, 'maxUses', u32),
  };
}

export function revokeFilter(value: unknown): component.RevokeFilter {
  if (value === 'everything') {
    return { tag: 'everything' };
  }
  if (typeof value === 'object') {
    const filter = object(value, 'filter', ['role', 'root']);
    const role = optional(filter.role, 'role', text);
    const root = optional(filter.root, 'root', text);
    if (role !== undefined && root === undefined) {
      return { tag: 'role', val: role };
    }
    if (root !== undefined && role === undefined) {
      return { tag: 'root', val: root };
    }
  }
  throw new ArgumentTypeError('filter', "must be 'everything', { role } or { root }");
}

export function page(value: unknown): component.Page {
  const page = optional(value, 'page', (value, path) => object(value, path, ['cursor', 'limit']));
  return {
    cursor: optional(page?.cursor, 'cursor', u64),
    limit: optional(page?.limit, 'limit', u32),
  };
}

export function changes(value: unknown): component.Change[] {
  const size = (change: component.Change): number => change.key.length + change.value.length;
  return list(value, 'changes', change, size, MAX_LARGE_LIST);
}

function change(value: unknown, path: string): component.Change {
  const change = object(value, path, ['sequence', 'key', 'value', 'forgetAt']);
  return {
    sequence: u64(change.sequence, `${path}.sequence`),
    key: text(change.key, `${path}.key`),
    value: text(change.value, `${path}.value`),
    forgetAt: optional(change.forgetAt, `${path}.forgetAt`, u64),
  };
}

export function config(value: unknown): component.Config {
  const config = object(value, 'config', [
    'workspaceId',
    'defaultTtl',
    'maxLifetime',
    'maxSessions',
    'maxSessionsPerAgent',
    'agentOverflow',
    'maxSessionsPerRoot',
    'maxDepth',
    'rotationGrace',
    'idleTimeout',
    'guardRecheckInterval',
    'clockTolerance',
    'eventCapacity',
    'maxStateBytes',
    'stateKey',
    'previousStateKeys',
  ]);
  const keys = (value: unknown, path: string): Uint8Array[] =>
    list(value, path, bytes, (key) => key.length);
  const overflow = (value: unknown, path: string): component.Overflow =>
    oneOf(value, path, ['refuse', 'evict-oldest']);
  return {
    workspaceId: optional(config.workspaceId, 'workspaceId', text),
    defaultTtl: optional(config.defaultTtl, 'defaultTtl', u64),
    maxLifetime: optional(config.maxLifetime, 'maxLifetime', u64),
    maxSessions: optional(config.maxSessions, 'maxSessions', u32),
    maxSessionsPerAgent: optional(config.maxSessionsPerAgent, 'maxSessionsPerAgent', u32),
    agentOverflow: optional(config.agentOverflow, 'agentOverflow', overflow),
    maxSessionsPerRoot: optional(config.maxSessionsPerRoot, 'maxSessionsPerRoot', u32),
    maxDepth: optional(config.maxDepth, 'maxDepth', u32),
    rotationGrace: optional(config.rotationGrace, 'rotationGrace', u64),
    idleTimeout: optional(config.idleTimeout, 'idleTimeout', u64),
    guardRecheckInterval: optional(config.guardRecheckInterval, 'guardRecheckInterval', u64),
    clockTolerance: optional(config.clockTolerance, 'clockTolerance', u64),
    eventCapacity: optional(config.eventCapacity, 'eventCapacity', u32),
    maxStateBytes: optional(config.maxStateBytes, 'maxStateBytes', u64),
    stateKey: optional(config.stateKey, 'stateKey', bytes),
    previousStateKeys: optional(config.previousStateKeys, 'previousStateKeys', keys) ?? [],
  };
}
