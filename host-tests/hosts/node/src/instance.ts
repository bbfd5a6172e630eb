/** What the instances of both kinds have in common: their end, and the errors of calls. */

import { sessionError } from './answers.js';
import type * as component from './component.js';
import { HostError, type HostErrorKind } from './errors.js';
import { GuardTrap } from './guard-answers.js';
import type { Call } from './operations.js';
import type { Lifecycle } from './sessions.js';

/** An instance of the component, until it ends. */
export class Instance {
  #component: component.Component | undefined;
  #end: { kind: HostErrorKind; message: string; cause?: unknown } | undefined;

  constructor(component: component.Component) {
    this.#component = component;
  }

  /** Returns the component. Throws a `HostError` if the instance has ended. */
  component(): component.Component {
    if (this.#component === undefined) {
      throw this.ended ?? new HostError('closed', 'the instance has ended');
    }
    return this.#component;
  }

  /** Returns why the instance takes no calls. */
  get ended(): HostError | undefined {
    if (this.#end === undefined) {
      return undefined;
    }
    const { kind, message, cause } = this.#end;
    return new HostError(kind, message, cause === undefined ? undefined : { cause });
  }

  /** Ends the instance, unless it has ended. */
  close(): void {
    this.#finish('closed', 'the instance was closed');
  }

  /**
   * Returns the error of a call that threw. An exception that is no error of the component was not
   * handled inside it, so the instance must not run again: it ends.
   */
  failure(thrown: unknown, cause: unknown): Error {
    const payload = errorPayload(thrown);
    if (payload !== undefined) {
      return sessionError(payload, cause);
    }
    const trap = thrown instanceof GuardTrap ? thrown.cause : thrown;
    const reason = trap instanceof Error ? `${trap.name}: ${trap.message}` : 'a trap';
    const message = `the instance has ended and its sessions are lost: ${reason}`;
    this.#finish('trap', message, trap);
    return new HostError('trap', message, { cause: trap });
  }

  /** Returns the operations together with the end of this instance. */
  withLifecycle<O extends object>(operations: O): O & Lifecycle {
    const instance = this;
    return {
      ...operations,
      close: () => instance.close(),
      get ended() {
        return instance.ended;
      },
    };
  }

  #finish(kind: HostErrorKind, message: string, cause?: unknown): void {
    this.#component = undefined;
    this.#end ??= { kind, message, cause };
  }
}

/** Returns the error of the component that a generated function threw. */
function errorPayload(thrown: unknown): component.Error | undefined {
  return thrown instanceof Error && Object.hasOwn(thrown, 'payload')
    ? (thrown as Error & { payload: component.Error }).payload
    : undefined;
}

/** Returns an object with a method for each call. */
export function methods(
  calls: Record<string, (...args: never[]) => Call<unknown>>,
  run: (makeCall: () => Call<unknown>) => unknown,
): Record<string, (...args: never[]) => unknown> {
  const entries = Object.entries(calls).map(
    ([name, makeCall]) => [name, (...args: never[]) => run(() => makeCall(...args))] as const,
  );
  return Object.fromEntries(entries);
}
