import { count } from '../model/format.js';
import { newAgent } from '../model/state.js';
import { type Scenario, answerOf, expectOk, newSession } from './scenario.js';

/** Sub-agents get less than their parents have, and end with them. */
export const delegation: Scenario = {
  title: 'Delegation',
  summary: 'Sub-agents get less, and end with their parent.',
  steps(playground) {
    let root = '';
    let planner = '';
    const worker = newAgent('Worker');
    let token = '';
    return [
      {
        text: 'The agent Boss gets a session with all tools and the memory.',
        async run() {
          const scopes = ['tool:*', 'memory:read'];
          const grant = await newSession(playground, newAgent('Boss'), 'coordinator', scopes);
          root = grant.session.id;
          return 'It is the root of a tree.';
        },
      },
      {
        text: 'It delegates the tools to a planner.',
        async run() {
          const request = { role: 'planner', scopes: ['tool:*'] };
          const outcome = await playground.delegate(root, newAgent('Planner'), request);
          planner = expectOk(outcome).session.id;
          return 'The planner has a session below it, which ends no later.';
        },
      },
      {
        text: 'The planner delegates one tool to a worker.',
        async run() {
          const request = { role: 'worker', scopes: ['tool:search'] };
          token = expectOk(await playground.delegate(planner, worker, request)).token;
          return 'The tree is three levels deep.';
        },
      },
      {
        text: 'The planner tries to delegate the memory, which it does not have.',
        async run() {
          const request = { role: 'worker', scopes: ['memory:read'] };
          return answerOf(await playground.delegate(planner, worker, request));
        },
      },
      {
        text: 'The worker uses its tool.',
        run: async () => answerOf(await playground.authorize(token, 'tool:search')),
      },
      {
        text: 'The session of Boss is revoked.',
        async run() {
          const { descendants } = expectOk(await playground.revoke(root));
          return `${count(descendants, 'session')} below it ended in the same step.`;
        },
      },
      {
        text: 'The worker tries to use its tool again.',
        run: async () => answerOf(await playground.authorize(token, 'tool:search')),
      },
    ];
  },
};
