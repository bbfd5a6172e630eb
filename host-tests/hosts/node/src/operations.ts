/** How each operation checks its arguments, calls the component and converts its answer. */

import * as answers from './answers.js';
import { optional, text, u32, u64 } from './checks.js';
import type { Component } from './component.js';
import * as parameters from './parameters.js';
import type { Operations } from './sessions.js';

/** A call of the component, with checked arguments. */
export interface Call<R> {
  /** Calls the component. */
  run(component: Component): unknown;
  /** Converts what `run` returned. `cause` is the exception that the guard threw, if any. */
  answer(raw: unknown, cause: unknown): R;
}

/** A function for each operation that checks its arguments and returns the call. */
type Calls = {
  [Name in keyof Operations]: (
    ...args: Parameters<Operations[Name]>
  ) => Call<ReturnType<Operations[Name]>>;
};

function call<Raw, R>(
  run: (component: Component) => Raw,
  answer: (raw: Raw, cause: unknown) => R,
): Call<R> {
  return { run, answer: answer as Call<R>['answer'] };
}

export const calls: Calls = {
  create(request) {
    const checked = parameters.createRequest(request);
    return call((it) => it.sessions.create(checked), answers.grant);
  },
  delegate(parentSessionId, request) {
    const parent = text(parentSessionId, 'parentSessionId');
    const checked = parameters.createRequest(request);
    return call((it) => it.sessions.delegate(parent, checked), answers.grant);
  },
  validate(token) {
    const checked = text(token, 'token');
    return call((it) => it.sessions.validate(checked), answers.session);
  },
  validateMany(tokens) {
    const { texts, errors } = parameters.tokens(tokens);
    return call(
      (it) => it.sessions.validateMany(texts),
      (results, cause) =>
        answers
          .validated(results, cause)
          .map((result, index) => errors.get(index) ?? result),
    );
  },
  authorize(token, scope) {
    const checked = text(token, 'token');
    const wanted = text(scope, 'scope');
    return call((it) => it.sessions.authorize(checked, wanted), answers.session);
  },
  rotate(token) {
    const checked = text(token, 'token');
    return call((it) => it.sessions.rotate(checked), answers.grant);
  },
  touch(sessionId) {
    const id = text(sessionId, 'sessionId');
    return call((it) => it.sessions.touch(id), answers.unchanged);
  },
  refresh(sessionId) {
    const id = text(sessionId, 'sessionId');
    return call((it) => it.sessions.refresh(id), answers.grant);
  },
  revoke(sessionId) {
    const id = text(sessionId, 'sessionId');
    return call((it) => it.sessions.revoke(id), answers.revocation);
  },
  revokeByToken(token) {
    const checked = text(token, 'token');
    return call((it) => it.sessions.revokeByToken(checked), answers.revocation);
  },
  revokeAllForAgent(agentId) {
    const agent = text(agentId, 'agentId');
    return call((it) => it.sessions.revokeAllForAgent(agent), answers.unchanged);
  },
  revokeAll(filter) {
    const checked = parameters.revokeFilter(filter);
    return call((it) => it.sessions.revokeAll(checked), answers.unchanged);
  },
  flushGuardRevocations() {
    return call((it) => it.sessions.flushGuardRevocations(), answers.unchanged);
  },
  get(sessionId) {
    const id = text(sessionId, 'sessionId');
    return call((it) => it.sessions.get(id), answers.session);
  },
  listForAgent(agentId, page) {
    const agent = text(agentId, 'agentId');
    const checked = parameters.page(page);
    return call((it) => it.sessions.listForAgent(agent, checked), answers.sessionPage);
  },
  activeCount() {
    return call((it) => it.sessions.activeCount(), answers.unchanged);
  },
  pruneExpired(limit) {
    const checked = optional(limit, 'limit', u32);
    return call((it) => it.sessions.pruneExpired(checked), answers.unchanged);
  },
  createSession(agentId, role, scopes, taskType) {
    const agent = text(agentId, 'agentId');
    const checkedRole = text(role, 'role');
    const checkedScopes = parameters.texts(scopes, 'scopes');
    const task = optional(taskType, 'taskType', text);
    return call(
      (it) => it.legacy.createSession(agent, checkedRole, checkedScopes, task),
      answers.grant,
    );
  },
  getSession(id) {
    const checked = text(id, 'id');
    return call((it) => it.legacy.getSession(checked), answers.session);
  },
  invalidate(id) {
    const checked = text(id, 'id');
    return call((it) => it.legacy.invalidate(checked), answers.unchanged);
  },
  pollEvents(since, limit) {
    const after = u64(since, 'since');
    const most = u32(limit, 'limit');
    return call((it) => it.events.pollEvents(after, most), answers.eventPage);
  },
  changes(since, limit) {
    const after = u64(since, 'since');
    const most = u32(limit, 'limit');
    return call((it) => it.persistence.changes(after, most), answers.changePage);
  },
  restore(changes) {
    const checked = parameters.changes(changes);
    return call((it) => it.persistence.restore(checked), answers.unchanged);
  },
  closeEventRun() {
    return call((it) => it.persistence.closeEventRun(), answers.unchanged);
  },
  flushStoredRevocations(stored) {
    const checked = u64(stored, 'stored');
    return call((it) => it.persistence.flushStoredRevocations(checked), answers.unchanged);
  },
  configure(config) {
    const checked = parameters.config(config);
    return call((it) => it.settings.configure(checked), answers.unchanged);
  },
  acceptClock() {
    return call((it) => it.settings.acceptClock(), answers.unchanged);
  },
  stats() {
    return call((it) => it.settings.stats(), answers.statistics);
  },
};
