import { useState } from 'preact/hooks';

import type { Failure } from '../backend/backend.js';
import type { RequestOfAgent } from '../model/playground.js';
import { type Entry, sessionName } from '../model/state.js';
import { Button, Dialog, Field, fieldNumber, fieldText, onSubmit } from './controls.js';
import { FailureNote } from './failure.js';
import { fieldError } from './instance-dialog.js';
import { usePage } from './page.js';

interface Props {
  /** The agent's name to begin with. */
  agent?: string;
  /** The session to delegate from, if the new session is delegated. */
  parent?: Entry;
  onClose: () => void;
}

/** Creates or delegates a session. The component checks the values, so that its errors appear. */
export function SessionDialog({ agent, parent, onClose }: Props) {
  const { playground, state } = usePage();
  const [failure, setFailure] = useState<Failure>();
  const send = async (form: HTMLFormElement, close: () => void): Promise<void> => {
    const agent = playground.agentNamed(fieldText(form, 'agent-id').trim() || 'Unnamed');
    const request = requestOf(form);
    const outcome =
      parent === undefined
        ? await playground.create(agent, request)
        : await playground.delegate(parent.session.id, agent, request);
    if (outcome.ok) {
      close();
    } else {
      setFailure(outcome.failure);
    }
  };
  const error = (name: string) => fieldError(failure, name);
  const names = state.agents.map(({ name }) => name);
  const title =
    parent === undefined ? 'New session' : `Delegate from ${sessionName(state, parent.session.id)}`;
  return (
    <Dialog title={title} onClose={onClose}>
      {(close) => (
        <form class="form" noValidate onSubmit={onSubmit((form) => send(form, close))}>
          <div class="fields">
            <Field
              label="Agent"
              name="agent-id"
              value={agent ?? ''}
              choices={names}
              hint="A new name makes a new agent"
              error={error('agent-id')}
            />
            <Field label="Role" name="role" value="worker" required error={error('role')} />
          </div>
          <Field
            label="Scopes"
            name="scopes"
            value={parent?.session.scopes.join(' ') ?? 'memory:read tool:*'}
            hint={
              parent === undefined
                ? 'Separated by spaces'
                : 'Each must be covered by a scope of the parent'
            }
            error={error('scopes')}
          />
          <div class="fields">
            <Field
              label="Lifetime"
              name="expires-in"
              numeric
              hint="Seconds; 3,600 by default"
              error={error('expires-in')}
            />
            <Field
              label="Uses"
              name="max-uses"
              numeric
              hint="At most; no limit by default"
              error={error('max-uses')}
            />
          </div>
          <Field label="Task type" name="task-type" error={error('task-type')} />
          <Field
            label="Metadata"
            name="metadata"
            multiline
            hint="JSON; {} by default"
            error={error('metadata')}
          />
          <div role="alert">{failure !== undefined && <FailureNote failure={failure} />}</div>
          <div class="form-end">
            <Button onClick={close}>Cancel</Button>
            <Button submit kind="primary">
              {parent === undefined ? 'Create session' : 'Delegate session'}
            </Button>
          </div>
        </form>
      )}
    </Dialog>
  );
}

/** Returns the request of a form. What is left empty is left out. */
function requestOf(form: HTMLFormElement): RequestOfAgent {
  return {
    role: fieldText(form, 'role'),
    scopes: fieldText(form, 'scopes').split(/\s+/).filter((scope) => scope !== ''),
    expiresIn: fieldNumber(form, 'expires-in'),
    maxUses: fieldNumber(form, 'max-uses'),
    taskType: fieldText(form, 'task-type') || undefined,
    metadata: fieldText(form, 'metadata') || undefined,
  };
}
