import { useId, useState } from 'preact/hooks';

import { type Entry, isLive, sessionName } from '../model/state.js';
import { Button, Panel } from './controls.js';
import { usePage } from './page.js';

/** The kill switches for a role, a root and everything. Those of agents are beside the agents. */
export function KillSwitches() {
  const { playground, state, now } = usePage();
  const live = [...state.sessions.values()].filter((entry) => isLive(entry, now));
  const roles = [...new Set(live.map(({ session }) => session.role))];
  const roots = live.filter(({ session }) => session.parent === undefined);
  const rootName = ({ session }: Entry): string =>
    `${sessionName(state, session.id)}, ${session.id.slice(0, 8)}`;
  return (
    <Panel title="Kill switches">
      <div class="switches">
        <Switch
          label="Role"
          choices={roles.map((role) => [role, role])}
          onEnd={(role) => playground.revokeAll({ role })}
        />
        <Switch
          label="Root"
          choices={roots.map((root) => [root.session.id, rootName(root)])}
          onEnd={(root) => playground.revokeAll({ root })}
        />
        <Button kind="danger" icon="power" onClick={() => playground.revokeAll('everything')}>
          End everything
        </Button>
      </div>
    </Panel>
  );
}

interface SwitchProps {
  label: string;
  choices: readonly (readonly [value: string, text: string])[];
  onEnd: (value: string) => void;
}

function Switch({ label, choices, onEnd }: SwitchProps) {
  const id = useId();
  const [chosen, setChosen] = useState<string>();
  const current = choices.some(([value]) => value === chosen) ? chosen : choices[0]?.[0];
  return (
    <div class="switch">
      <div class="field">
        <label for={id}>{label}</label>
        <select
          id={id}
          value={current ?? ''}
          disabled={current === undefined}
          onChange={(event) => setChosen(event.currentTarget.value)}
        >
          {current === undefined && <option value="">no live session</option>}
          {choices.map(([value, text]) => (
            <option key={value} value={value}>
              {text}
            </option>
          ))}
        </select>
      </div>
      <Button
        kind="danger"
        small
        disabled={current === undefined}
        label={`End ${label.toLowerCase()}`}
        onClick={() => (current === undefined ? undefined : onEnd(current))}
      >
        End
      </Button>
    </div>
  );
}
