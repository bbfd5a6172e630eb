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
import {
  type Agent,
  type Entry,
  type HeldToken,
  type Outcome,
  type State,
  type StolenToken,
  heldToken,
  newAgent,
  sessionName,
} from './state.js';

/** How many calls, events and readings the page keeps. */
const MAX_CALLS = 60;
const MAX_EVENTS = 1_000;
const MAX_HISTORY = 60;
const EVENTS_PER_PAGE = 500;

/** A request without its agent. */
export type RequestOfAgent = Omit<CreateRequest, 'agentId'>;

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
    const playground = new Playground(backend, await emptyState(backend, 0));
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

  /** Adds an agent. If the name is taken, it gets a number. */
  addAgent(agent: Agent): void {
    this.#set(this.#withAgent(agent));
  }

  /** Returns the agent of this name, or a new one that is not part of the page yet. */
  agentNamed(name: string): Agent {
    return this.#state.agents.find((agent) => agent.name === name) ?? newAgent(name);
  }

  select(sessionId: string | undefined): void {
    this.#set({ selected: sessionId });
  }

  /** Creates a session, and adds its agent if that is new. */
  create(agent: Agent, request: RequestOfAgent): Promise<Outcome<Grant>> {
    const call = () => this.#backend.create({ ...request, agentId: agent.id });
    return this.#call('create', call, granted, this.#withSessionOf(agent));
  }

  /** Creates a session below another, and adds its agent if that is new. */
  delegate(parentId: string, agent: Agent, request: RequestOfAgent): Promise<Outcome<Grant>> {
    const call = () => this.#backend.delegate(parentId, { ...request, agentId: agent.id });
    return this.#call('delegate', call, granted, this.#withSessionOf(agent));
  }

  validate(token: string): Promise<Outcome<Session>> {
    const call = () => this.#backend.validate(token);
    return this.#call('validate', call, this.#used, this.#withSession);
  }

  authorize(token: string, scope: string): Promise<Outcome<Session>> {
    const call = () => this.#backend.authorize(token, scope);
    return this.#call('authorize', call, this.#used, this.#withSession);
  }

  /** Rotates a token. Its agent gets the new one. */
  rotate(token: string): Promise<Outcome<Grant>> {
    return this.#call('rotate', () => this.#backend.rotate(token), renewed, this.#withGrant);
  }

  /** Rotates a token that an attacker holds. The attacker gets the new one, not the agent. */
  rotateStolen({ id, token }: StolenToken): Promise<Outcome<Grant>> {
    const call = () => this.#backend.rotate(token.text);
    return this.#call('rotate', call, renewed, (grant) => ({
      ...this.#withSession(grant.session),
      stolen: this.#state.stolen.map((stolen) =>
        stolen.id === id ? { ...stolen, token: heldToken(grant) } : stolen,
      ),
    }));
  }

  refresh(sessionId: string): Promise<Outcome<Grant>> {
    const call = () => this.#backend.refresh(sessionId);
    return this.#call('refresh', call, renewed, this.#withGrant);
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
      const { calls, instance } = this.#state;
      this.#since = 0;
      this.#state = { ...(await emptyState(this.#backend, instance + 1)), calls };
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

  /** Copies the token of a session, as an attacker would. */
  steal(sessionId: string, token: HeldToken): StolenToken {
    const copy = { id: this.#nextId(), sessionId, token };
    this.#set({ stolen: [...this.#state.stolen, copy] });
    return copy;
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
  async read(): Promise<void> {
    await this.#read();
    this.#notify();
  }

  #read(): Promise<void> {
    this.#reading = this.#reading.then(() => this.#readNext());
    return this.#reading;
  }

  async #readNext(): Promise<void> {
    try {
      for (;;) {
        const page = await this.#backend.events(this.#since, EVENTS_PER_PAGE);
        this.#since = page.next;
        const fetched = await this.#renewedByOthers(page.events);
        const { events, missed } = this.#state;
        this.#change({
          sessions: upToDate(this.#state.sessions, fetched, page.events),
          events: [...events, ...page.events].slice(-MAX_EVENTS),
          missed: missed + page.missed,
        });
        if (page.events.length < EVENTS_PER_PAGE) {
          break;
        }
      }
      const figures = await this.#backend.figures();
      const history = [...this.#state.history, figures.liveSessions].slice(-MAX_HISTORY);
      this.#change({ figures, history });
    } catch (error) {
      // The next call shows the reason.
      if (!(error instanceof BackendError)) {
        throw error;
      }
    }
  }

  /** Fetches the sessions that somebody else has created or renewed, by these events. */
  async #renewedByOthers(events: readonly Event[]): Promise<Session[]> {
    const ids = events
      .filter((event) => {
        const entry = this.#state.sessions.get(event.sessionId);
        const isNewer = entry === undefined || entry.session.generation < event.generation;
        return event.kind !== 'ended' && isNewer;
      })
      .map(({ sessionId }) => sessionId);
    const sessions = [];
    for (const id of new Set(ids)) {
      sessions.push(await this.#backend.get(id).catch(ignoreRefusal));
    }
    return sessions.filter((session) => session !== undefined);
  }

  /**
   * Makes a call, records it, and reads what it has changed. `change` returns what the value of the
   * call changes in the state. The page shows all of it at once.
   */
  async #call<T>(
    operation: string,
    call: () => Promise<T>,
    text: (value: T) => string,
    change: (value: T) => Partial<State> = () => ({}),
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
      this.#change(change(outcome.value));
    }
    await this.#read();
    const answer = outcome.ok ? { ok: true as const, text: text(outcome.value) } : outcome;
    const recorded = { id: this.#nextId(), operation, time, micros, answer };
    this.#set({ calls: [recorded, ...this.#state.calls].slice(0, MAX_CALLS) });
    return outcome;
  }

  /** Returns the change that a session of an agent has been created. It is selected. */
  #withSessionOf(agent: Agent): (grant: Grant) => Partial<State> {
    return (grant) => ({
      ...this.#withAgent(agent),
      ...this.#withGrant(grant),
      selected: grant.session.id,
    });
  }

  /** Returns the change that an agent is known, under a name that no other agent has. */
  #withAgent({ id, name }: Agent): Partial<State> {
    const { agents } = this.#state;
    if (agents.some((agent) => agent.id === id)) {
      return {};
    }
    const names = new Set(agents.map((agent) => agent.name));
    let free = name;
    for (let number = 2; names.has(free); number += 1) {
      free = `${name} ${number}`;
    }
    return { agents: [...agents, { id, name: free }] };
  }

  /** Returns the change that the agent of a session has received its token. */
  #withGrant = (grant: Grant): Partial<State> => this.#withEntry(grant.session, heldToken(grant));

  #withSession = (session: Session): Partial<State> => {
    return this.#withEntry(session, this.#state.sessions.get(session.id)?.token);
  };

  #withEntry(session: Session, token: HeldToken | undefined): Partial<State> {
    // An event that was read in the meantime may have ended the session already.
    const end = this.#state.sessions.get(session.id)?.end;
    return { sessions: new Map(this.#state.sessions).set(session.id, { session, token, end }) };
  }

  #used = (session: Session): string => {
    const { usesLeft } = session;
    const left = usesLeft === undefined ? '' : `, ${count(usesLeft, 'use')} left`;
    return `${sessionName(this.#state, session.id)}${left}`;
  };

  /** Changes the state, and lets the page show it. */
  #set(change: Partial<State>): void {
    this.#change(change);
    this.#notify();
  }

  #change(change: Partial<State>): void {
    this.#state = { ...this.#state, ...change };
  }

  #notify(): void {
    this.#listeners.forEach((listener) => listener());
  }

  #nextId(): number {
    this.#lastId += 1;
    return this.#lastId;
  }
}

async function emptyState(backend: Backend, instance: number): Promise<State> {
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
    instance,
  };
}

/** Returns the sessions after these events, with those that were fetched because of them. */
function upToDate(
  sessions: State['sessions'],
  fetched: readonly Session[],
  events: readonly Event[],
): State['sessions'] {
  const next = new Map<string, Entry>(sessions);
  for (const session of fetched) {
    const token = next.get(session.id)?.token;
    next.set(session.id, { session, token, end: undefined });
  }
  for (const event of events) {
    const entry = next.get(event.sessionId);
    if (event.kind === 'ended' && entry !== undefined) {
      next.set(event.sessionId, { ...entry, end: { reason: event.reason, time: event.time } });
    }
  }
  return next;
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
