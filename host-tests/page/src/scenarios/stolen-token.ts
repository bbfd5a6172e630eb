import type { Grant } from '../backend/backend.js';
import { type StolenToken, heldToken, newAgent } from '../model/state.js';
import { type Scenario, StepError, answerOf, expectOk, newSession } from './scenario.js';

/** A thief presents a token that its owner has replaced. */
export const stolenToken: Scenario = {
  title: 'Stolen token',
  summary: 'A copied token ends the session when it is used.',
  steps(playground) {
    let grant: Grant;
    let copy: StolenToken;
    return [
      {
        text: 'The agent Alice gets a session.',
        async run() {
          grant = await newSession(playground, newAgent('Alice'), 'analyst', ['memory:*']);
          return 'The session is live.';
        },
      },
      {
        text: 'A thief copies the token.',
        async run() {
          copy = playground.steal(grant.session.id, heldToken(grant));
          return 'Now two parties hold it. Nobody can know that yet.';
        },
      },
      {
        text: 'Alice rotates her token, as agents do regularly.',
        async run() {
          grant = expectOk(await playground.rotate(grant.token));
          return 'Alice has a new token. The copy is superseded.';
        },
      },
      {
        text: 'The thief rotates the copy, to stay in.',
        async run() {
          const outcome = await playground.rotateStolen(copy);
          if (outcome.ok) {
            throw new StepError('The call succeeds: this instance has a rotation grace.');
          }
          return answerOf(outcome);
        },
      },
      {
        text: 'The page looks for the end of the session among the events.',
        async run() {
          const reason = playground.state.sessions.get(grant.session.id)?.end?.reason;
          if (reason === undefined) {
            throw new StepError('The session has not ended.');
          }
          return `The session has ended. The reason is ${reason}. Alice has to sign in again.`;
        },
      },
      {
        text: 'Alice presents her newest token.',
        run: async () => answerOf(await playground.validate(grant.token)),
      },
    ];
  },
};
