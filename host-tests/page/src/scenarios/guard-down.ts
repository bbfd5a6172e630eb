import type { Controls } from '../backend/backend.js';
import { count } from '../model/format.js';
import { newAgent } from '../model/state.js';
import { type Scenario, answerOf, expectOk, newSession } from './scenario.js';

/** Returns the scenario of a guard that does not answer. It needs control over the guard. */
export function guardDown(controls: Controls): Scenario {
  return {
    title: 'Guard down',
    summary: 'Revoke while the guard does not answer.',
    close: (playground) => playground.setGuard(controls, 'answers'),
    steps(playground) {
      let sessionId = '';
      let token = '';
      return [
        {
          text: 'The agent Carol gets a session.',
          async run() {
            playground.setGuard(controls, 'answers');
            const scopes = ['deploy:staging'];
            const grant = await newSession(playground, newAgent('Carol'), 'operator', scopes);
            sessionId = grant.session.id;
            token = grant.token;
            return 'The guard has issued its token.';
          },
        },
        {
          text: 'The guard goes down.',
          async run() {
            playground.setGuard(controls, 'unavailable');
            return 'It answers every call with unavailable.';
          },
        },
        {
          text: 'Carol presents her token.',
          run: async () => answerOf(await playground.validate(token)),
        },
        {
          text: 'The session is revoked.',
          async run() {
            expectOk(await playground.revoke(sessionId));
            const pending = playground.state.figures.pendingRevocations;
            return `It has ended. ${count(pending, 'revocation')} pending with the guard.`;
          },
        },
        {
          text: 'The guard is up again, and Carol presents her token.',
          async run() {
            playground.setGuard(controls, 'answers');
            return answerOf(await playground.validate(token));
          },
        },
        {
          text: 'The host flushes the pending revocations, as it does regularly.',
          async run() {
            const { settled } = expectOk(await playground.flushRevocations(controls));
            const known = controls.guard.tokens().find((issued) => issued.sessionId === sessionId);
            const state = known?.state ?? 'forgotten';
            return `${count(settled, 'revocation')} settled. To the guard, the token is ${state}.`;
          },
        },
      ];
    },
  };
}
