/** A conversation of a vector with an instance. */

import { HostError, SessionError } from 'clawdb-session';
import type {
  AsyncSessions,
  Change,
  Config,
  CreateRequest,
  EventPage,
  Guard,
  Page,
  RevokeFilter,
  Sessions,
} from 'clawdb-session';

import { camelCase } from '../../src/names.js';
import { ControlledGuard } from './controlled-guard.js';
import { type Json, err, resultsJson, toJson } from './json.js';

const START = Date.parse('2030-01-01T00:00:00Z');

/** The options of an instance that a conversation controls. */
interface Options {
  guard: ControlledGuard;
  clock: () => number;
  entropy: (length: number) => Uint8Array;
}

/** What a conversation tests, and the guard that it needs for that. */
export interface Subject {
  /** Starts an instance of either kind. */
  start: (options: Options) => Promise<Sessions | AsyncSessions>;
  /** Returns a guard that accepts its tokens until it has revoked them, or they have expired. */
  guard: (clock: () => number) => Guard;
}

type Line = { [name: string]: Json };

export class Conversation {
  #now = START;
  #repeats = false;
  readonly #guard: ControlledGuard;
  #sessions: Sessions | AsyncSessions | undefined;
  readonly #start: Subject['start'];
  /** The sequence number of the last event that each subscription has read. */
  readonly #subscriptions = new Map<string, number>();

  private constructor({ start, guard }: Subject) {
    this.#start = start;
    this.#guard = new ControlledGuard(guard(() => this.#now));
  }

  static async start(subject: Subject): Promise<Conversation> {
    const conversation = new Conversation(subject);
    await conversation.#restart();
    return conversation;
  }

  /** Returns the answer to a line. */
  async answer(line: Line): Promise<Json> {
    const { op, ...fields } = line;
    switch (op) {
      case 'restart':
        await this.#restart();
        return { ok: null };
      case 'clock':
        this.#setClock(fields);
        return { ok: null };
      case 'entropy':
        this.#repeats = oneOf(fields['mode'], ['ok', 'repeat']) === 'repeat';
        return { ok: null };
      case 'guard':
        return { ok: this.#controlGuard(fields) };
      case 'subscribe':
        this.#subscriptions.set(text(fields['name']), fields['since'] as number);
        return { ok: null };
      case 'read':
        return { ok: await this.#read(text(fields['name']), fields['limit'] as number) };
      case 'unsubscribe':
        this.#subscriptions.delete(text(fields['name']));
        return { ok: null };
      default:
        return this.#call(text(op), fields);
    }
  }

  /** Reads the next events of a subscription. This world cannot push them, so they are polled. */
  async #read(name: string, limit: number | undefined = 1_000): Promise<Json> {
    const since = this.#subscriptions.get(name);
    if (this.#sessions === undefined || since === undefined) {
      throw new Error(`there is no subscription ${name}`);
    }
    const page = await this.#sessions.pollEvents(since, limit);
    this.#subscriptions.set(name, page.next);
    return toJson(page.events);
  }

  async #restart(): Promise<void> {
    this.#subscriptions.clear();
    this.#sessions = await this.#start({
      guard: this.#guard,
      clock: () => this.#now,
      entropy: (length) =>
        this.#repeats
          ? Uint8Array.from({ length }, (_, index) => (index % 255) + 1)
          : crypto.getRandomValues(new Uint8Array(length)),
    });
  }

  #setClock(fields: Line): void {
    const { advance, set, ...others } = fields;
    if (typeof advance === 'number') {
      this.#now += Math.round(advance * 1_000);
    } else {
      this.#now = Date.parse(text(set));
    }
    refuseOthers(others);
  }

  #controlGuard(fields: Line): Json {
    const { mode, on, calls, ...others } = fields;
    refuseOthers(others);
    if (mode !== undefined) {
      this.#guard.set(text(mode), on === undefined ? 'all' : text(on));
    }
    return calls === true ? toJson(this.#guard.calls) : null;
  }

  async #call(op: string, fields: Line): Promise<Json> {
    if (this.#sessions === undefined) {
      throw new Error('the conversation has not started');
    }
    try {
      return { ok: await callOperation(this.#sessions, op, fields) };
    } catch (error) {
      if (error instanceof SessionError || error instanceof HostError) {
        return err(error);
      }
      throw error;
    }
  }
}

/** Calls an operation of the contract with the fields of a line. */
async function callOperation(
  sessions: Sessions | AsyncSessions,
  op: string,
  fields: Line,
): Promise<Json> {
  const { id, limit, since, token } = fields;
  const sessionId = fields['session-id'];
  const agentId = fields['agent-id'];
  switch (op) {
    case 'create':
      return toJson(await sessions.create(named(fields) as unknown as CreateRequest));
    case 'delegate':
      return toJson(
        await sessions.delegate(
          text(fields['parent-session-id']),
          named(fields['request']) as unknown as CreateRequest,
        ),
      );
    case 'validate':
      return toJson(await sessions.validate(text(token)));
    case 'validate-many':
      return resultsJson(await sessions.validateMany(fields['tokens'] as string[]));
    case 'authorize':
      return toJson(await sessions.authorize(text(token), text(fields['scope'])));
    case 'rotate':
      return toJson(await sessions.rotate(text(token)));
    case 'touch':
      return toJson(await sessions.touch(text(sessionId)));
    case 'refresh':
      return toJson(await sessions.refresh(text(sessionId)));
    case 'revoke':
      return toJson(await sessions.revoke(text(sessionId)));
    case 'revoke-by-token':
      return toJson(await sessions.revokeByToken(text(token)));
    case 'revoke-all-for-agent':
      return toJson(await sessions.revokeAllForAgent(text(agentId)));
    case 'revoke-all':
      return toJson(await sessions.revokeAll(fields['filter'] as RevokeFilter));
    case 'flush-guard-revocations':
      return toJson(await sessions.flushGuardRevocations());
    case 'get':
      return toJson(await sessions.get(text(sessionId)));
    case 'list-for-agent':
      return toJson(await sessions.listForAgent(text(agentId), fields['page'] as unknown as Page));
    case 'active-count':
      return toJson(await sessions.activeCount());
    case 'prune-expired':
      return toJson(await sessions.pruneExpired(limit as number | undefined));
    case 'create-session':
      return toJson(
        await sessions.createSession(
          text(agentId),
          text(fields['role']),
          fields['scopes'] as string[],
          fields['task-type'] as string | undefined,
        ),
      );
    case 'get-session':
      return toJson(await sessions.getSession(text(id ?? sessionId)));
    case 'invalidate':
      return toJson(await sessions.invalidate(text(id ?? sessionId)));
    case 'poll-events':
      return eventPageJson(await sessions.pollEvents(since as number, limit as number));
    case 'changes':
      return toJson(await sessions.changes(since as number, limit as number));
    case 'restore':
      return toJson(await sessions.restore((fields['changes'] as Line[]).map(change)));
    case 'close-event-run':
      return toJson(await sessions.closeEventRun());
    case 'flush-stored-revocations':
      return toJson(await sessions.flushStoredRevocations(fields['stored'] as number));
    case 'configure':
      return toJson(await sessions.configure(config(fields)));
    case 'accept-clock':
      return toJson(await sessions.acceptClock());
    case 'stats':
      return toJson(await sessions.stats());
    default:
      throw new Error(`${op} is no operation`);
  }
}

/** The vectors leave out an event's `missed` of 0. */
function eventPageJson(page: EventPage): Json {
  const events = page.events.map(({ missed, ...event }) =>
    missed > 0 ? { missed, ...event } : event,
  );
  return toJson({ ...page, events });
}

/** Returns a change of the JSON form. Its `forget-at` is in the record itself. */
function change(line: Line): Change {
  return {
    sequence: line['sequence'] as number,
    key: text(line['key']),
    value: text(line['value']),
  };
}

function config(fields: Line): Config {
  const { stateKey, previousStateKeys, ...others } = named(fields);
  const keys = (previousStateKeys ?? []) as string[];
  return {
    ...(others as Config),
    stateKey: typeof stateKey === 'string' ? fromHex(stateKey) : undefined,
    previousStateKeys: keys.map(fromHex),
  };
}

function fromHex(text: string): Uint8Array {
  const digits = text.match(/../g) ?? [];
  return Uint8Array.from(digits, (pair) => Number.parseInt(pair, 16));
}

/** Returns the fields with their names in camelCase. */
function named(fields: Json | undefined): Line {
  const entries = Object.entries(fields as Line);
  return Object.fromEntries(entries.map(([name, value]) => [camelCase(name), value]));
}

function text(value: Json | undefined): string {
  if (typeof value !== 'string') {
    throw new Error(`${JSON.stringify(value)} must be a string`);
  }
  return value;
}

function oneOf(value: Json | undefined, choices: string[]): string {
  const chosen = text(value);
  if (!choices.includes(chosen)) {
    throw new Error(`${chosen} must be one of ${choices.join(', ')}`);
  }
  return chosen;
}

function refuseOthers(fields: Line): void {
  if (Object.keys(fields).length > 0) {
    throw new Error(`unknown fields: ${Object.keys(fields).join(', ')}`);
  }
}
