/** The guard of the vectors: it wraps another guard, has modes, and counts its calls. */

import { GuardBroken, GuardError } from 'clawdb-session';
import type { Claims, Guard, IssueRequest, IssuedToken } from 'clawdb-session';

const MODES = ['ok', 'deny', 'unavailable', 'revoked', 'wrong-handle', 'short', 'trap'] as const;
const FUNCTIONS = ['issue', 'validate', 'revoke'] as const;

type Mode = (typeof MODES)[number];
type Function = (typeof FUNCTIONS)[number];

export class ControlledGuard implements Guard {
  readonly #inner: Guard;
  readonly #modes: Record<Function, Mode> = { issue: 'ok', validate: 'ok', revoke: 'ok' };
  readonly #calls = {
    issue: 0,
    validate: 0,
    revoke: 0,
    validateTokens: { calls: 0, items: 0 },
    revokeTokens: { calls: 0, items: 0 },
  };

  constructor(inner: Guard) {
    this.#inner = inner;
  }

  /** Sets the mode of a function, or of all. Throws an error if there is no such mode. */
  set(mode: string, on = 'all'): void {
    const known = MODES.find((known) => known === mode);
    const functions = FUNCTIONS.filter((name) => on === 'all' || on === name);
    if (known === undefined || functions.length === 0) {
      throw new Error(`the guard has no mode ${mode} for ${on}`);
    }
    for (const name of functions) {
      this.#modes[name] = known;
    }
  }

  get calls(): unknown {
    return structuredClone(this.#calls);
  }

  issueSessionToken(request: IssueRequest): IssuedToken {
    const mode = this.#enter('issue');
    return this.#named(mode, this.#inner.issueSessionToken(request));
  }

  validateToken(token: string): Claims {
    const mode = this.#enter('validate');
    return this.#named(mode, this.#inner.validateToken(token));
  }

  revokeToken(handle: string): void {
    this.#enter('revoke');
    this.#inner.revokeToken(handle);
  }

  validateTokens(tokens: string[]): (Claims | GuardError)[] {
    this.#calls.validateTokens.calls += 1;
    this.#calls.validateTokens.items += tokens.length;
    return this.#shortened('validate', each(tokens, (token) => this.validateToken(token)));
  }

  revokeTokens(handles: string[]): (GuardError | undefined)[] {
    this.#calls.revokeTokens.calls += 1;
    this.#calls.revokeTokens.items += handles.length;
    const revoke = (handle: string): undefined => {
      this.revokeToken(handle);
    };
    return this.#shortened('revoke', each(handles, revoke));
  }

  /** Counts a call, and returns the mode or throws its error. */
  #enter(name: Function): Mode {
    this.#calls[name] += 1;
    const mode = this.#modes[name];
    switch (mode) {
      case 'deny':
        throw new GuardError('denied', 'the guard was told to deny');
      case 'unavailable':
        throw new GuardError('unavailable', 'the guard was told to be unavailable');
      case 'revoked':
        throw new GuardError('revoked');
      case 'trap':
        throw new GuardBroken('the guard was told to trap');
      default:
        return mode;
    }
  }

  #named<T extends Claims>(mode: Mode, answer: T): T {
    return mode === 'wrong-handle' ? { ...answer, handle: crypto.randomUUID() } : answer;
  }

  #shortened<T>(name: Function, results: T[]): T[] {
    return this.#modes[name] === 'short' ? results.slice(0, -1) : results;
  }
}

/** Calls a function for each item. After an `unavailable`, the others get the same error. */
function each<T>(items: string[], call: (item: string) => T): (T | GuardError)[] {
  let unavailable: GuardError | undefined;
  return items.map((item) => {
    if (unavailable !== undefined) {
      return unavailable;
    }
    try {
      return call(item);
    } catch (error) {
      if (!(error instanceof GuardError)) {
        throw error;
      }
      unavailable = error.kind === 'unavailable' ? error : undefined;
      return error;
    }
  });
}
