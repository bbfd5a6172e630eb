import { count } from '../model/format.js';
import { type Scenario, answerOf, expectOk, newSession } from './scenario.js';

/** All sessions of an agent end in one call. */
export const killSwitch: Scenario = {
  title: 'Kill switch',
  summary: 'End all sessions of an agent in one call.',
  steps(playground) {
    let agentId = '';
    let token = '';
    return [
      {
        text: 'The agent Mallory gets a session.',
        async run() {
          const grant = await newSession(playground, 'Mallory', 'crawler', ['web:*']);
          agentId = grant.session.agentId;
          token = grant.token;
          return 'The session is live, and the agent holds its token.';
        },
      },
      {
        text: 'It gets two more, for other tasks.',
        async run() {
          for (const taskType of ['indexing', 'summaries']) {
            const request = { agentId, role: 'crawler', scopes: ['web:search'], taskType };
            expectOk(await playground.create(request));
          }
          return 'The agent has three live sessions.';
        },
      },
      {
        text: 'The agent presents its first token.',
        run: async () => answerOf(await playground.validate(token)),
      },
      {
        text: 'The agent misbehaves. One call ends all its sessions, before the guard is asked.',
        async run() {
          const ended = expectOk(await playground.revokeAllForAgent(agentId));
          return `${count(ended, 'session')} ended.`;
        },
      },
      {
        text: 'The agent presents its token again.',
        run: async () => answerOf(await playground.validate(token)),
      },
    ];
  },
};
