/** The component in the page itself, with the guard and the clock of the page. */

import { type Config, type Sessions, createSessions } from 'clawdb-session';

import { PageClock } from '../clock.js';
import { PageGuard } from '../guard.js';
import type {
  Backend,
  Controls,
  CreateRequest,
  Events,
  Figures,
  RevokeFilter,
  Settings,
} from './backend.js';
import { backendError } from './component-errors.js';

/** An instance of the component, with a clock and a guard of its own. */
interface Instance {
  sessions: Sessions;
  clock: PageClock;
  guard: PageGuard;
}

export class ComponentBackend implements Backend {
  #instance: Instance;

  private constructor(instance: Instance) {
    this.#instance = instance;
  }

  /** Starts an instance without sessions. */
  static async start(settings: Settings = {}): Promise<ComponentBackend> {
    return new ComponentBackend(await start(settings));
  }

  get controls(): Controls {
    return {
      clock: this.#instance.clock,
      guard: this.#instance.guard,
      flushRevocations: () => this.#call((it) => it.flushGuardRevocations()),
      pruneExpired: () => this.#call((it) => it.pruneExpired()),
      restart: async (settings) => {
        const next = await start(settings);
        this.#instance.sessions.close();
        this.#instance = next;
      },
    };
  }

  now(): number {
    return this.#instance.clock.now();
  }

  create(request: CreateRequest) {
    return this.#call((it) => it.create(request));
  }

  delegate(parentSessionId: string, request: CreateRequest) {
    return this.#call((it) => it.delegate(parentSessionId, request));
  }

  validate(token: string) {
    return this.#call((it) => it.validate(token));
  }

  authorize(token: string, scope: string) {
    return this.#call((it) => it.authorize(token, scope));
  }

  rotate(token: string) {
    return this.#call((it) => it.rotate(token));
  }

  refresh(sessionId: string) {
    return this.#call((it) => it.refresh(sessionId));
  }

  get(sessionId: string) {
    return this.#call((it) => it.get(sessionId));
  }

  revoke(sessionId: string) {
    return this.#call((it) => it.revoke(sessionId));
  }

  revokeByToken(token: string) {
    return this.#call((it) => it.revokeByToken(token));
  }

  revokeAllForAgent(agentId: string) {
    return this.#call((it) => it.revokeAllForAgent(agentId));
  }

  revokeAll(filter: RevokeFilter) {
    return this.#call((it) => it.revokeAll(filter));
  }

  acceptClock() {
    return this.#call((it) => it.acceptClock());
  }

  events(since: number, limit: number): Promise<Events> {
    return this.#call((it) => it.pollEvents(since, limit));
  }

  figures(): Promise<Figures> {
    return this.#call((it) => it.stats());
  }

  async #call<T>(call: (sessions: Sessions) => T): Promise<T> {
    try {
      return call(this.#instance.sessions);
    } catch (error) {
      throw backendError(error);
    }
  }
}

async function start(settings: Settings): Promise<Instance> {
  const clock = new PageClock();
  const now = (): number => clock.now();
  const guard = new PageGuard(now);
  const config: Config = { ...settings };
  try {
    return { sessions: await createSessions({ guard, clock: now, config }), clock, guard };
  } catch (error) {
    throw backendError(error);
  }
}
