/** An example with several agents, for a visitor who wants to see sessions at once. */

import type { Playground, RequestOfAgent } from '../model/playground.js';
import { StepError, expectOk } from './scenario.js';

/** A session to create, with those below it. */
interface Example {
  agent: string;
  role: string;
  scopes: string[];
  minutes: number;
  task?: string;
  uses?: number;
  below?: Example[];
}

const EXAMPLES: Example[] = [
  {
    agent: 'Atlas',
    role: 'coordinator',
    scopes: ['tool:*', 'memory:*', 'web:search'],
    minutes: 480,
    task: 'quarterly-report',
    below: [
      {
        agent: 'Iris',
        role: 'researcher',
        scopes: ['web:search', 'memory:read', 'tool:fetch'],
        minutes: 120,
        task: 'sources',
        below: [
          { agent: 'Pico', role: 'crawler', scopes: ['web:search'], minutes: 15 },
          { agent: 'Nano', role: 'crawler', scopes: ['web:search'], minutes: 15 },
        ],
      },
      {
        agent: 'Quill',
        role: 'writer',
        scopes: ['memory:*', 'tool:format'],
        minutes: 90,
        task: 'draft',
        below: [{ agent: 'Nib', role: 'proofreader', scopes: ['memory:read'], minutes: 30 }],
      },
    ],
  },
  {
    agent: 'Sentry',
    role: 'monitor',
    scopes: ['metrics:read', 'alerts:*'],
    minutes: 1_440,
    below: [{ agent: 'Echo', role: 'notifier', scopes: ['alerts:send'], minutes: 60 }],
  },
  { agent: 'Forge', role: 'builder', scopes: ['repo:read', 'ci:run'], minutes: 45 },
  { agent: 'Forge', role: 'deployer', scopes: ['deploy:staging'], minutes: 5, uses: 3 },
];

/**
 * Creates the sessions of the example, of the same agents each time. Stops at the first error,
 * which the page shows as every answer.
 */
export async function createExample(playground: Playground): Promise<void> {
  const create = async (example: Example, parent: string | undefined): Promise<void> => {
    const { role, scopes, minutes, task, uses, below = [] } = example;
    const agent = playground.agentNamed(example.agent);
    const request: RequestOfAgent = {
      role,
      scopes,
      expiresIn: minutes * 60,
      taskType: task,
      maxUses: uses,
    };
    const outcome =
      parent === undefined
        ? await playground.create(agent, request)
        : await playground.delegate(parent, agent, request);
    const { id } = expectOk(outcome).session;
    for (const child of below) {
      await create(child, id);
    }
  };
  try {
    for (const example of EXAMPLES) {
      await create(example, undefined);
    }
  } catch (error) {
    if (!(error instanceof StepError)) {
      throw error;
    }
  }
}
