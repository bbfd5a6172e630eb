import { useState } from 'preact/hooks';

import { forest, withoutEnded } from '../model/tree.js';
import { createExample } from '../scenarios/example.js';
import { Button, Panel } from './controls.js';
import { usePage } from './page.js';
import { SessionDialog } from './session-dialog.js';
import { Tree } from './tree.js';

/** The sessions as a tree of delegations. */
export function Sessions() {
  const { playground, state } = usePage();
  const [creating, setCreating] = useState(false);
  const [hidesEnded, setHidesEnded] = useState(false);
  const all = forest(state.sessions.values());
  const nodes = hidesEnded ? withoutEnded(all) : all;
  const example = (
    <Button icon="play" onClick={() => createExample(playground)}>
      Load example
    </Button>
  );
  return (
    <Panel
      title="Sessions"
      class="sessions"
      tools={
        <div class="tools">
          <label class="check">
            <input
              type="checkbox"
              checked={hidesEnded}
              onChange={(event) => setHidesEnded(event.currentTarget.checked)}
            />
            Hide ended
          </label>
          <Button small kind="quiet" onClick={() => playground.forgetEnded()}>
            Forget ended
          </Button>
          <Button small kind="primary" icon="plus" onClick={() => setCreating(true)}>
            New session
          </Button>
        </div>
      }
    >
      {nodes.length > 0 ? (
        <Tree nodes={nodes} />
      ) : (
        <div class="empty">
          <p>There are no sessions to show.</p>
          <p>Create one, load an example with several agents, or follow a guide.</p>
          {example}
        </div>
      )}
      {nodes.length > 0 && <div class="panel-foot">{example}</div>}
      {creating && <SessionDialog onClose={() => setCreating(false)} />}
    </Panel>
  );
}
