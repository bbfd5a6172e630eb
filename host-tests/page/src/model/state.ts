/** What the page shows. Each change makes a new state. */

import type { Event, Failure, Figures, Grant, Session } from '../backend/backend.js';

export interface State {
  readonly agents: readonly Agent[];
  /** All sessions that the page knows, oldest first, by their ids. */
  readonly sessions: ReadonlyMap<string, Entry>;
  readonly stolen: readonly StolenToken[];
  /** The newest events, oldest first. */
  readonly events: readonly Event[];
  /** How many events the page has not read before they were dropped. */
  readonly missed: number;
  /** The last calls, newest first. */
  readonly calls: readonly Call[];
  readonly figures: Figures;
  /** The numbers of live sessions at the last readings, oldest first. */
  readonly history: readonly number[];
  /** The id of the selected session. */
  readonly selected: string | undefined;
  /** How many instances the page has started before this one. */
  readonly instance: number;
}

/** An agent. The contract knows its id only. */
export interface Agent {
  readonly id: string;
  /** No two agents of the state have the same name. */
  readonly name: string;
}

/** A session, and what the page knows of it besides. */
export interface Entry {
  readonly session: Session;
  /** The last token that its agent has received, if the page knows it. */
  readonly token: HeldToken | undefined;
  /** How and when it ended, if it has. */
  readonly end: { readonly reason: string; readonly time: number } | undefined;
}

/** A token that somebody holds. It is superseded if its session has a later generation. */
export interface HeldToken {
  readonly text: string;
  readonly generation: number;
}

/** A token that an attacker holds: a copy of the agent's, or what the attacker got for one. */
export interface StolenToken {
  readonly id: number;
  readonly sessionId: string;
  readonly token: HeldToken;
}

/** A call of the backend, and its answer. */
export interface Call {
  readonly id: number;
  /** The contract's name of the operation. */
  readonly operation: string;
  /** When it was made, by the backend's time. */
  readonly time: number;
  /** How long it took, in microseconds. */
  readonly micros: number;
  readonly answer: Answer;
}

/** What a call answered: a sentence, or an error of the contract. */
export type Answer =
  | { readonly ok: true; readonly text: string }
  | { readonly ok: false; readonly failure: Failure };

/** The value of a call that succeeded, or its error. */
export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly failure: Failure };

/** Returns the token of a grant, as its receiver holds it. */
export function heldToken({ token, session }: Grant): HeldToken {
  return { text: token, generation: session.generation };
}

/** Returns an agent with a random id. */
export function newAgent(name: string): Agent {
  return { id: crypto.randomUUID(), name };
}

/** Returns whether a session can be used: it has not ended, and its time has not passed. */
export function isLive(entry: Entry, now: number): boolean {
  return entry.end === undefined && entry.session.expiresAt > now;
}

/** Returns the name of an agent, or the beginning of its id if the page has no name. */
export function agentName(state: State, agentId: string): string {
  return state.agents.find(({ id }) => id === agentId)?.name ?? agentId.slice(0, 8);
}

/** Returns how a session is named in sentences: its role and its agent. */
export function sessionName(state: State, sessionId: string): string {
  const entry = state.sessions.get(sessionId);
  return entry === undefined
    ? sessionId.slice(0, 8)
    : `${entry.session.role} of ${agentName(state, entry.session.agentId)}`;
}
