import { count } from '../model/format.js';
import { isLive, newAgent } from '../model/state.js';
import { type Scenario, answerOf, expectOk, newSession } from './scenario.js';

/** All sessions of an agent end in one call. */
export const killSwitch: Scenario = {
  title: 'Kill switch',
  summary: 'End all sessions of an agent in one call.',
  steps(playground) {
    const agent = newAgent('Mallory');
    let token = '';
    return [
      {
        text: 'The agent Mallory gets a session.',
        async run() {
          token = (await newSession(playground, agent, 'crawler', ['web:*'])).token;
          return 'The session is live, and the agent holds its token.';
        },
      },
      {
        text: 'It gets two more, for other tasks.',
        async run() {
          for (const taskType of ['indexing', 'summaries']) {
            const request = { role: 'crawler', scopes: ['web:search'], taskType };
            expectOk(await playground.create(agent, request));
          }
          const live = [...playground.state.sessions.values()].filter(
            (entry) => entry.session.agentId === agent.id && isLive(entry, playground.now()),
          );
          return `The agent has ${count(live.length, 'live session')}.`;
        },
      },
      {
        text: 'The agent presents its first token.',
        run: async () => answerOf(await playground.validate(token)),
      },
      {
        text: 'The agent misbehaves. All its sessions are revoked in one call.',
        async run() {
          const ended = expectOk(await playground.revokeAllForAgent(agent.id));
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
