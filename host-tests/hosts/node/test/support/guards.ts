/** Guards and requests that the tests use. */

import { GuardError, HmacGuard } from 'clawdb-session';
import type { Claims, CreateRequest, Guard, IssueRequest, IssuedToken } from 'clawdb-session';

export const AGENT = '7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f';

export const REQUEST: CreateRequest = {
  agentId: AGENT,
  role: 'worker',
  scopes: ['memory:read'],
  expiresIn: 900,
};

export function hmacGuard(): HmacGuard {
  return new HmacGuard(crypto.getRandomValues(new Uint8Array(32)));
}

/** A guard whose functions the test can replace. Until then they are those of an HMAC guard. */
export class ReplaceableGuard implements Guard {
  readonly inner = hmacGuard();
  issue: (request: IssueRequest) => unknown = (request) => this.inner.issueSessionToken(request);
  validate: (token: string) => unknown = (token) => this.inner.validateToken(token);
  revoke: (handle: string) => unknown = (handle) => this.inner.revokeToken(handle);

  issueSessionToken(request: IssueRequest): IssuedToken {
    return this.issue(request) as IssuedToken;
  }

  validateToken(token: string): Claims {
    return this.validate(token) as Claims;
  }

  revokeToken(handle: string): void {
    return this.revoke(handle) as void;
  }
}

/** Things that a guard can throw and that are no answer of a guard, with their names. */
export function foreignExceptions(): [string, unknown][] {
  const unreadable = new Proxy(new Error('unreadable'), {
    get() {
      throw new Error('no property can be read');
    },
    getPrototypeOf() {
      throw new Error('there is no prototype');
    },
    has() {
      throw new Error('no property can be asked for');
    },
  });
  const strangeKind = new GuardError('denied', 'a reason');
  Object.assign(strangeKind, { kind: 'strange', reason: Symbol('strange') });
  return [
    ['an Error', new Error('the database is down')],
    ['an Error with a payload', Object.assign(new Error('no'), { payload: { tag: 'expired' } })],
    ['a payload', { tag: 'expired' }],
    ['a payload of an unknown case', { tag: 'strange', val: 1 }],
    ['a text', 'no'],
    ['undefined', undefined],
    ['null', null],
    ['a Symbol', Symbol('no')],
    ['an object that cannot be read', unreadable],
    ['a GuardError of an unknown kind', strangeKind],
    ['an object without a prototype', Object.create(null)],
  ];
}
