import { useRef } from 'preact/hooks';

import { type StolenToken, sessionName } from '../model/state.js';
import { Button, Panel } from './controls.js';
import { usePage } from './page.js';

/** The tokens that an attacker holds, and what an attacker does with them. */
export function Stolen() {
  const { playground, state } = usePage();
  const place = useRef<HTMLDivElement>(null);
  const discard = (id: number): void => {
    playground.discard(id);
    // The button that had the focus is gone.
    place.current?.focus();
  };
  return (
    <Panel title="Stolen tokens" tools={<span class="count">{state.stolen.length}</span>}>
      <div ref={place} tabIndex={-1} aria-live="polite">
        {state.stolen.length === 0 && <p class="empty">No token has been stolen.</p>}
        {state.stolen.length > 0 && (
          <ul class="stolen">
            {state.stolen.map((stolen) => (
              <Item key={stolen.id} stolen={stolen} onDiscard={() => discard(stolen.id)} />
            ))}
          </ul>
        )}
      </div>
    </Panel>
  );
}

interface ItemProps {
  stolen: StolenToken;
  onDiscard: () => void;
}

function Item({ stolen, onDiscard }: ItemProps) {
  const { playground, state } = usePage();
  const { sessionId, token } = stolen;
  const name = sessionName(state, sessionId);
  const actions = [
    ['Validate', () => playground.validate(token.text)],
    ['Rotate', () => playground.rotateStolen(stolen)],
    ['Discard', onDiscard],
  ] as const;
  return (
    <li>
      <span class="cut">
        {name}
        <span class="hint">
          <code>…{token.text.slice(-8)}</code>, generation {token.generation}
        </span>
      </span>
      <div class="group">
        {actions.map(([text, act]) => (
          <Button key={text} small label={`${text} the stolen token of ${name}`} onClick={act}>
            {text}
          </Button>
        ))}
      </div>
    </li>
  );
}
