import { useState } from 'preact/hooks';

import { isLive, newAgent } from '../model/state.js';
import { Button, Field, Panel, fieldText, onSubmit } from './controls.js';
import { usePage } from './page.js';
import { SessionDialog } from './session-dialog.js';

/** The agents, with the kill switch of each. */
export function Agents() {
  const { playground, state, now } = usePage();
  const [creating, setCreating] = useState<string>();
  const live = new Map<string, number>();
  for (const entry of state.sessions.values()) {
    if (isLive(entry, now)) {
      const { agentId } = entry.session;
      live.set(agentId, (live.get(agentId) ?? 0) + 1);
    }
  }
  const add = (form: HTMLFormElement): void => {
    const name = fieldText(form, 'agent-name').trim();
    if (name !== '') {
      playground.addAgent(newAgent(name));
      form.reset();
    }
  };
  return (
    <Panel title="Agents" tools={<span class="count">{state.agents.length}</span>}>
      {state.agents.length > 0 && (
        <ul class="agents">
          {state.agents.map(({ id, name }) => {
            const sessions = live.get(id) ?? 0;
            return (
              <li key={id}>
                <div class="cut">
                  <span class="agent-name cut" title={name}>
                    {name}
                  </span>
                  <span class="hint">
                    <code>{id.slice(0, 8)}</code> · {sessions} live
                  </span>
                </div>
                <Button
                  small
                  kind="quiet"
                  icon="plus"
                  label={`New session of ${name}`}
                  onClick={() => setCreating(name)}
                >
                  {''}
                </Button>
                <Button
                  small
                  kind="danger"
                  label={`End all sessions of ${name}`}
                  onClick={() => playground.revokeAllForAgent(id)}
                >
                  End all
                </Button>
              </li>
            );
          })}
        </ul>
      )}
      <form class="inline-form" onSubmit={onSubmit(add)}>
        <Field label="Name of a new agent" name="agent-name" />
        <Button submit>Add agent</Button>
      </form>
      {creating !== undefined && (
        <SessionDialog agent={creating} onClose={() => setCreating(undefined)} />
      )}
    </Panel>
  );
}
