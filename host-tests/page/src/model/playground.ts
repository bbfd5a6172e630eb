/** Makes the visitor's calls, and keeps what the page shows. */

import {
  type Backend,
  BackendError,
  type Controls,
  type CreateRequest,
  type Event,
  type FlushReport,
  type Grant,
  type GuardMode,
  type RevokeFilter,
  type Revocation,
  type Session,
  type Settings,
} from '../backend/backend.js';
import { count } from './format.js';
import { type Agent, type Entry, type Outcome, type State, sessionName } from './state.js';

/** How many calls, events and readings the page keeps. */
const MAX_CALLS = 60;
const MAX_EVENTS = 1_000;
const MAX_HISTORY = 60;
const EVENTS_PER_PAGE = 500;

export class Playground {
  readonly #backend: Backend;
  readonly #listeners = new Set<() => void>();
  #state: State;
  /** The sequence number of the last event that was read. */
  #since = 0;
  #lastId = 0;
  /** Ends when the readings that have been asked for are done. */
  #reading: Promise<void> = Promise.resolve();

  private constructor(backend: Backend, state: State) {
    this.#backend = backend;
    this.#state = state;
  }

  static async start(backend: Backend): Promise<Playground> {
    const playground = new Playground(backend, await emptyState(backend));
    await playground.read();
    return playground;
  }

  get state(): State {
    return this.#state;
  }

  get controls(): Controls | undefined {
    return this.#backend.controls;
  }

  now(): number {
    return this.#backend.now();
  }

  /** Calls a function after each change. Returns a function that ends this. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  addAgent(name: string): Agent {
    const agent = { id: crypto.randomUUID(), name };
    this.#set({ agents: [...this.#state.agents, agent] });
    return agent;
  }

  select(sessionId: string | undefined): void {
    this.#set({ selected: sessionId });
  }

  async create(request: CreateRequest): Promise<Outcome<Grant>> {
    const outcome = await this.#call('create', () => this.#backend.create(request), granted);
    return this.#selected(outcome);
  }

  async delegate(parentId: string, request: CreateRequest): Promise<Outcome<Grant>> {
    const call = () => this.#backend.delegate(parentId, request);
    return this.#selected(await this.#call('delegate', call, granted));
  }

  validate(token: string): Promise<Outcome<Session>> {
    return this.#call('validate', () => this.#backend.validate(token), this.#used);
  }

  authorize(token: string, scope: string): Promise<Outcome<Session>> {
    return this.#call('authorize', () => this.#backend.authorize(token, scope), this.#used);
  }

  rotate(token: string): Promise<Outcome<Grant>> {
    return this.#call('rotate', () => this.#backend.rotate(token), renewed);
  }

  refresh(sessionId: string): Promise<Outcome<Grant>> {
    return this.#call('refresh', () => this.#backend.refresh(sessionId), renewed);
  }

  revoke(sessionId: string): Promise<Outcome<Revocation>> {
    return this.#call('revoke', () => this.#backend.revoke(sessionId), revoked);
  }

  revokeByToken(token: string): Promise<Outcome<Revocation>> {
    return this.#call('revoke-by-token', () => this.#backend.revokeByToken(token), revoked);
  }

  revokeAllForAgent(agentId: string): Promise<Outcome<number>> {
    const call = () => this.#backend.revokeAllForAgent(agentId);
    return this.#call('revoke-all-for-agent', call, ended);
  }

  revokeAll(filter: RevokeFilter): Promise<Outcome<number>> {
    return this.#call('revoke-all', () => this.#backend.revokeAll(filter), ended);
  }

  acceptClock(): Promise<Outcome<number>> {
    return this.#call('accept-clock', () => this.#backend.acceptClock(), ended);
  }

  flushRevocations(controls: Controls): Promise<Outcome<FlushReport>> {
    const call = () => controls.flushRevocations();
    return this.#call('flush-guard-revocations', call, ({ settled, pending }) =>
      `${settled} settled, ${pending} still pending`,
    );
  }

  pruneExpired(controls: Controls): Promise<Outcome<number>> {
    return this.#call('prune-expired', () => controls.pruneExpired(), ended);
  }

  /** Starts another instance, and forgets all that the page knows of the old one. */
  restart(controls: Controls, settings: Settings): Promise<Outcome<void>> {
    const call = async (): Promise<void> => {
      await controls.restart(settings);
      const { calls } = this.#state;
      this.#since = 0;
      this.#set({ ...(await emptyState(this.#backend)), calls });
    };
    return this.#call('configure', call, () => 'another instance has started');
  }

  async moveClock(controls: Controls, millis: number): Promise<void> {
    controls.clock.advance(millis);
    await this.read();
  }

  async resetClock(controls: Controls): Promise<void> {
    controls.clock.reset();
    await this.read();
  }

  setGuard(controls: Controls, mode: GuardMode): void {
    controls.guard.mode = mode;
    this.#set({});
  }

  /** Keeps a copy of the current token of a session, as an attacker would. */
  steal(sessionId: string): void {
    const entry = this.#state.sessions.get(sessionId);
    if (entry?.token === undefined) {
      return;
    }
    const { generation } = entry.session;
    const copy = { id: this.#nextId(), sessionId, generation, token: entry.token };
    this.#set({ stolen: [...this.#state.stolen, copy] });
  }

  discard(stolenId: number): void {
    this.#set({ stolen: this.#state.stolen.filter(({ id }) => id !== stolenId) });
  }

  /** Forgets the sessions that have ended. */
  forgetEnded(): void {
    const sessions = new Map([...this.#state.sessions].filter(([, { end }]) => end === undefined));
    const { selected } = this.#state;
    this.#set({
      sessions,
      selected: selected !== undefined && sessions.has(selected) ? selected : undefined,
    });
  }

  /** Reads the new events and the figures. */
  read(): Promise<void> {
    this.#reading = this.#reading.then(() => this.#read());
    return this.#reading;
  }

  async #read(): Promise<void> {
    try {
      for (;;) {
        const page = await this.#backend.events(this.#since, EVENTS_PER_PAGE);
        this.#since = page.next;
        for (const event of page.events) {
          await this.#apply(event);
        }
        const events = [...this.#state.events, ...page.events].slice(-MAX_EVENTS);
        this.#set({ events, missed: this.#state.missed + page.missed });
        if (page.events.length < EVENTS_PER_PAGE) {
          break;
        }
      }
      const figures = await this.#backend.figures();
      const history = [...this.#state.history, figures.liveSessions].slice(-MAX_HISTORY);
      this.#set({ figures, history });
    } catch (error) {
      // The next call shows the reason.
      if (!(error instanceof BackendError)) {
        throw error;
      }
    }
  }

  /** Brings a session up to date with an event. */
  async #apply(event: Event): Promise<void> {
    const entry = this.#state.sessions.get(event.sessionId);
    if (event.kind === 'ended') {
      if (entry !== undefined) {
        this.#setSession({ ...entry, end: { reason: event.reason, time: event.time } });
      }
    } else if (entry === undefined || entry.session.generation < event.generation) {
      // Somebody else has created or renewed it.
      const session = await this.#backend.get(event.sessionId).catch(ignoreRefusal);
      if (session !== undefined) {
        this.#setSession({ session, token: undefined, end: undefined });
      }
    }
  }

  /** Makes a call, records it, and reads what it has changed. */
  async #call<T>(
    operation: string,
    call: () => Promise<T>,
    text: (value: T) => string,
  ): Promise<Outcome<T>> {
    const time = this.now();
    const start = performance.now();
    let outcome: Outcome<T>;
    try {
      outcome = { ok: true, value: await call() };
    } catch (error) {
      if (!(error instanceof BackendError)) {
        throw error;
      }
      outcome = { ok: false, failure: error.failure };
    }
    const micros = (performance.now() - start) * 1_000;
    if (outcome.ok) {
      this.#keep(outcome.value);
    }
    await this.read();
    const answer = outcome.ok ? { ok: true as const, text: text(outcome.value) } : outcome;
    const recorded = { id: this.#nextId(), operation, time, micros, answer };
    this.#set({ calls: [recorded, ...this.#state.calls].slice(0, MAX_CALLS) });
    return outcome;
  }

  /** Keeps the session and the token that a call returned. */
  #keep(value: unknown): void {
    if (typeof value !== 'object' || value === null) {
      return;
    }
    // An event that was read in the meantime may have ended the session already.
    if ('token' in value) {
      const { session, token } = value as Grant;
      this.#setSession({ session, token, end: this.#state.sessions.get(session.id)?.end });
    } else if ('createdAt' in value) {
      const session = value as Session;
      const known = this.#state.sessions.get(session.id);
      this.#setSession({ session, token: known?.token, end: known?.end });
    }
  }

  #selected(outcome: Outcome<Grant>): Outcome<Grant> {
    if (outcome.ok) {
      this.select(outcome.value.session.id);
    }
    return outcome;
  }

  #used = (session: Session): string => {
    const { usesLeft } = session;
    const left = usesLeft === undefined ? '' : `, ${count(usesLeft, 'use')} left`;
    return `${sessionName(this.#state, session.id)}${left}`;
  };

  #setSession(entry: Entry): void {
    this.#set({ sessions: new Map(this.#state.sessions).set(entry.session.id, entry) });
  }

  #set(change: Partial<State>): void {
    this.#state = { ...this.#state, ...change };
    this.#listeners.forEach((listener) => listener());
  }

  #nextId(): number {
    this.#lastId += 1;
    return this.#lastId;
  }
}

async function emptyState(backend: Backend): Promise<State> {
  return {
    agents: [],
    sessions: new Map(),
    stolen: [],
    events: [],
    missed: 0,
    calls: [],
    figures: await backend.figures(),
    history: [],
    selected: undefined,
  };
}

function ignoreRefusal(error: unknown): undefined {
  if (!(error instanceof BackendError)) {
    throw error;
  }
}

const granted = ({ session }: Grant): string =>
  `session ${session.id.slice(0, 8)} with ${count(session.scopes.length, 'scope')}`;

const renewed = ({ session }: Grant): string =>
  `token of generation ${session.generation} for session ${session.id.slice(0, 8)}`;

const ended = (sessions: number): string => `${count(sessions, 'session')} ended`;

function revoked({ descendants, guardConfirmed }: Revocation): string {
  const below = descendants > 0 ? `, ${descendants} below it` : '';
  const guard = guardConfirmed ? 'the guard has confirmed' : 'the guard has not confirmed';
  return `session ended${below}; ${guard}`;
}
