import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';

import { duration, timeOfDay } from '../model/format.js';
import { type Entry, isLive, sessionName } from '../model/state.js';
import { Button, Field, Panel, fieldText, onSubmit } from './controls.js';
import { usePage } from './page.js';
import { SessionDialog } from './session-dialog.js';

/** The selected session, and what can be done with it. */
export function SessionDetail() {
  const { state } = usePage();
  const entry = state.selected === undefined ? undefined : state.sessions.get(state.selected);
  if (entry === undefined) {
    return (
      <Panel title="Session">
        <p class="empty">Select a session to use its token, renew it, delegate from it or end it.</p>
      </Panel>
    );
  }
  return (
    <Panel
      title={sessionName(state, entry.session.id)}
      class="detail"
      tools={<Status entry={entry} />}
    >
      <Actions key={entry.session.id} entry={entry} />
      <Facts entry={entry} />
    </Panel>
  );
}

function Status({ entry }: { entry: Entry }) {
  const { now } = usePage();
  if (entry.end !== undefined) {
    const tone = entry.end.reason === 'theft' ? 'danger' : 'ended';
    return <span class={`tag ${tone}`}>ended: {entry.end.reason}</span>;
  }
  return isLive(entry, now) ? (
    <span class="tag live">live</span>
  ) : (
    <span class="tag warning">expired</span>
  );
}

/** An ended session keeps its actions, to show what the component answers. */
function Actions({ entry }: { entry: Entry }) {
  const { playground } = usePage();
  const [delegating, setDelegating] = useState(false);
  const { token, session } = entry;
  const { id } = session;
  return (
    <div class="actions">
      {token !== undefined && (
        <>
          <div class="group" role="group" aria-label="With the token">
            <Button icon="check" onClick={() => playground.validate(token.text)}>
              Validate
            </Button>
            <Button icon="rotate" onClick={() => playground.rotate(token.text)}>
              Rotate
            </Button>
            <Button icon="copy" onClick={() => playground.steal(id, token)}>
              Steal token
            </Button>
            <Button icon="exit" onClick={() => playground.revokeByToken(token.text)}>
              Log out
            </Button>
          </div>
          <form
            class="inline-form"
            onSubmit={onSubmit((form) =>
              playground.authorize(token.text, fieldText(form, 'scope')),
            )}
          >
            <Field
              label="Scope to authorize"
              name="scope"
              value={session.scopes[0]?.replace(/\*$/, 'search') ?? ''}
            />
            <Button submit>Authorize</Button>
          </form>
        </>
      )}
      <div class="group" role="group" aria-label="By the host">
        <Button icon="delegate" onClick={() => setDelegating(true)}>
          Delegate
        </Button>
        <Button icon="refresh" onClick={() => playground.refresh(id)}>
          Refresh
        </Button>
        <Button kind="danger" icon="power" onClick={() => playground.revoke(id)}>
          Revoke
        </Button>
      </div>
      {delegating && <SessionDialog parent={entry} onClose={() => setDelegating(false)} />}
    </div>
  );
}

function Facts({ entry }: { entry: Entry }) {
  const { now } = usePage();
  const { session, token, end } = entry;
  const left = session.expiresAt - now;
  return (
    <dl class="facts">
      <Fact name="Session">
        <code>{session.id}</code>
      </Fact>
      <Fact name="Agent">
        <code>{session.agentId}</code>
      </Fact>
      {session.parent !== undefined && (
        <Fact name="Parent">
          <code>{session.parent}</code>
        </Fact>
      )}
      <Fact name="Scopes">
        {session.scopes.length === 0
          ? 'none'
          : session.scopes.map((scope) => (
              <code class="chip" key={scope}>
                {scope}
              </code>
            ))}
      </Fact>
      <Fact name="Token">
        {token === undefined ? (
          `not known to the page, generation ${session.generation}`
        ) : (
          <>
            <code>…{token.text.slice(-8)}</code>, generation {token.generation}
            {token.generation < session.generation &&
              `, superseded by generation ${session.generation}`}
          </>
        )}
      </Fact>
      <Fact name={end === undefined ? 'Expires' : 'Ended'}>
        {timeOfDay(end?.time ?? session.expiresAt)}
        {end === undefined && (left > 0 ? `, in ${duration(left)}` : ', has passed')}
      </Fact>
      {session.usesLeft !== undefined && <Fact name="Uses left">{session.usesLeft}</Fact>}
      {session.taskType !== undefined && <Fact name="Task type">{session.taskType}</Fact>}
      {session.metadata !== '{}' && (
        <Fact name="Metadata">
          <code>{session.metadata}</code>
        </Fact>
      )}
    </dl>
  );
}

function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
