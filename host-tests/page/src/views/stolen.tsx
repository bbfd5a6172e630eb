import { sessionName } from '../model/state.js';
import { Button, Panel } from './controls.js';
import { usePage } from './page.js';

/** The copies of tokens that an attacker has, and what an attacker does with them. */
export function Stolen() {
  const { playground, state } = usePage();
  if (state.stolen.length === 0) {
    return null;
  }
  return (
    <Panel title="Stolen tokens" tools={<span class="count">{state.stolen.length}</span>}>
      <ul class="stolen">
        {state.stolen.map(({ id, sessionId, generation, token }) => {
          const name = `the copy of ${sessionName(state, sessionId)}`;
          return (
            <li key={id}>
              <span class="cut">
                {sessionName(state, sessionId)}
                <span class="hint">
                  <code>…{token.slice(-8)}</code>, generation {generation}
                </span>
              </span>
              <div class="group">
                <Button
                  small
                  label={`Validate ${name}`}
                  onClick={() => playground.validate(token)}
                >
                  Validate
                </Button>
                <Button small label={`Rotate ${name}`} onClick={() => playground.rotate(token)}>
                  Rotate
                </Button>
                <Button
                  small
                  kind="quiet"
                  label={`Discard ${name}`}
                  onClick={() => playground.discard(id)}
                >
                  Discard
                </Button>
              </div>
            </li>
          );
        })}
      </ul>
    </Panel>
  );
}
