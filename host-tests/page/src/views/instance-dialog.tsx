import { useState } from 'preact/hooks';

import type { Controls, Failure } from '../backend/backend.js';
import { Button, Dialog, Field, fieldNumber, onSubmit } from './controls.js';
import { FailureNote } from './failure.js';
import { usePage } from './page.js';

/** The limits that can be set, by the contract's names. */
const FIELDS = [
  ['default-ttl', 'Default lifetime', 'Seconds; 3,600 by default'],
  ['idle-timeout', 'Idle timeout', 'Seconds without use; never by default'],
  ['rotation-grace', 'Rotation grace', 'Seconds, 0 to 300; 0 by default'],
  ['clock-tolerance', 'Clock tolerance', 'Seconds, 0 to 3,600; 60 by default'],
  ['max-depth', 'Largest depth', 'Levels below a root, 0 to 16; 3 by default'],
  ['max-sessions-per-agent', 'Sessions of an agent', 'At most; 1,000 by default'],
] as const;

interface Props {
  controls: Controls;
  onClose: () => void;
}

/** Starts another instance of the component with other limits. */
export function InstanceDialog({ controls, onClose }: Props) {
  const { playground } = usePage();
  const [failure, setFailure] = useState<Failure>();
  const start = async (form: HTMLFormElement, close: () => void): Promise<void> => {
    const number = (name: (typeof FIELDS)[number][0]) => fieldNumber(form, name);
    const outcome = await playground.restart(controls, {
      defaultTtl: number('default-ttl'),
      idleTimeout: number('idle-timeout'),
      rotationGrace: number('rotation-grace'),
      clockTolerance: number('clock-tolerance'),
      maxDepth: number('max-depth'),
      maxSessionsPerAgent: number('max-sessions-per-agent'),
    });
    if (outcome.ok) {
      close();
    } else {
      setFailure(outcome.failure);
    }
  };
  return (
    <Dialog title="New instance" onClose={onClose}>
      {(close) => (
        <form class="form" noValidate onSubmit={onSubmit((form) => start(form, close))}>
          <p class="intro">All sessions and events of this instance are lost.</p>
          <div class="fields">
            {FIELDS.map(([name, label, hint]) => (
              <Field
                key={name}
                name={name}
                label={label}
                hint={hint}
                numeric
                error={fieldError(failure, name)}
              />
            ))}
          </div>
          <div role="alert">{failure !== undefined && <FailureNote failure={failure} />}</div>
          <div class="form-end">
            <Button onClick={close}>Cancel</Button>
            <Button submit kind="primary">
              Start
            </Button>
          </div>
        </form>
      )}
    </Dialog>
  );
}

/** Returns why the value of a field was refused, if the error is about it. */
export function fieldError(failure: Failure | undefined, name: string): string | undefined {
  const field = failure?.payload['field'];
  // The field of a list's item has its index.
  const isField = typeof field === 'string' && field.replace(/\[\d+\]$/, '') === name;
  return isField ? String(failure?.payload['reason']) : undefined;
}
