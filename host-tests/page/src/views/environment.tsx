import { useState } from 'preact/hooks';

import type { Controls, GuardMode } from '../backend/backend.js';
import { day, duration, timeOfDay } from '../model/format.js';
import { Button } from './controls.js';
import { GuardDialog } from './guard-dialog.js';
import { Icon } from './icons.js';
import { usePage } from './page.js';

/** The clock and the guard of the component, as far as the page controls them. */
export function Environment() {
  const { controls } = usePage().playground;
  return (
    <div class="environment">
      <ClockPart controls={controls} />
      {controls !== undefined && <GuardPart controls={controls} />}
    </div>
  );
}

const MOVES = [
  ['−5 min', -300_000, 'Move the clock back, −5 min'],
  ['+1 min', 60_000, 'Move the clock forward, +1 min'],
  ['+15 min', 900_000, 'Move the clock forward, +15 min'],
  ['+1 h', 3_600_000, 'Move the clock forward, +1 h'],
  ['+1 d', 86_400_000, 'Move the clock forward, +1 d'],
] as const;

function ClockPart({ controls }: { controls: Controls | undefined }) {
  const { playground, state, now } = usePage();
  const { clockBehind, clockLag } = state.figures;
  const offset = controls?.clock.offset ?? 0;
  return (
    <section class="panel strip" aria-label="Clock">
      <Icon name="clock" />
      <p class="clock">
        <time class="clock-time">{timeOfDay(now)}</time>
        <span class="hint">{day(now)}</span>
        <span class={offset === 0 ? 'hint' : 'offset'}>{offsetText(offset)}</span>
      </p>
      {controls !== undefined && (
        <div class="group">
          {MOVES.map(([text, millis, label]) => (
            <Button
              key={text}
              small
              label={label}
              onClick={() => playground.moveClock(controls, millis)}
            >
              {text}
            </Button>
          ))}
          <Button
            small
            disabled={offset === 0}
            onClick={() => playground.resetClock(controls)}
          >
            Real time
          </Button>
        </div>
      )}
      {clockBehind && (
        <p class="behind">
          <code>clock-behind</code> by {duration(clockLag)}
          <Button small kind="danger" onClick={() => playground.acceptClock()}>
            End all and accept clock
          </Button>
        </p>
      )}
    </section>
  );
}

function offsetText(offset: number): string {
  if (offset === 0) {
    return 'real time';
  }
  return `${duration(Math.abs(offset))} ${offset > 0 ? 'ahead' : 'back'}`;
}

const MODES: readonly [GuardMode, string][] = [
  ['answers', 'Answers'],
  ['unavailable', 'Unavailable'],
  ['refuses', 'Refuses'],
];

function GuardPart({ controls }: { controls: Controls }) {
  const { playground } = usePage();
  const [open, setOpen] = useState(false);
  const { mode } = controls.guard;
  return (
    <section class="panel strip" aria-label="Guard">
      <Icon name="shield" />
      <fieldset class="segments" data-mode={mode}>
        <legend>Guard</legend>
        {MODES.map(([value, text]) => (
          <label key={value}>
            <input
              type="radio"
              name="guard"
              checked={mode === value}
              onChange={() => playground.setGuard(controls, value)}
            />
            <span>{text}</span>
          </label>
        ))}
      </fieldset>
      <Button small onClick={() => setOpen(true)} label="Inspect the guard">
        Inspect
      </Button>
      {open && <GuardDialog guard={controls.guard} onClose={() => setOpen(false)} />}
    </section>
  );
}
