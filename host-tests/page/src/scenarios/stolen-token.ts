import { type Scenario, StepError, answerOf, expectOk, newSession } from './scenario.js';

/** A thief presents a token that its owner has replaced. */
export const stolenToken: Scenario = {
  title: 'Stolen token',
  summary: 'A copied token ends the session when it is used.',
  steps(playground) {
    let sessionId = '';
    let current = '';
    let stolen = '';
    return [
      {
        text: 'The agent Alice gets a session.',
        async run() {
          const grant = await newSession(playground, 'Alice', 'analyst', ['memory:*']);
          sessionId = grant.session.id;
          current = grant.token;
          return 'The session is live.';
        },
      },
      {
        text: 'A thief copies the token.',
        async run() {
          stolen = current;
          playground.steal(sessionId);
          return 'Now two parties hold it. Nobody can know that yet.';
        },
      },
      {
        text: 'Alice rotates her token, as agents do regularly.',
        async run() {
          current = expectOk(await playground.rotate(current)).token;
          return 'Alice has a new token. The copy is superseded.';
        },
      },
      {
        text: 'The thief rotates the copy, to stay in.',
        run: async () => answerOf(await playground.rotate(stolen)),
      },
      {
        text: 'The component has seen a replaced token again, so the session has ended.',
        async run() {
          const reason = playground.state.sessions.get(sessionId)?.end?.reason;
          if (reason === undefined) {
            throw new StepError('The session has not ended.');
          }
          return `The reason of the end is ${reason}. Alice has to sign in again.`;
        },
      },
      {
        text: 'The newest token is refused too.',
        run: async () => answerOf(await playground.validate(current)),
      },
    ];
  },
};
