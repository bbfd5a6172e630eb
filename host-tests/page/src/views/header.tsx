import { useState } from 'preact/hooks';

import { Button } from './controls.js';
import { Mark } from './icons.js';
import { InstanceDialog } from './instance-dialog.js';
import { usePage } from './page.js';
import { ThemeSwitch } from './theme-switch.js';

export function Header() {
  const { playground, state } = usePage();
  const [open, setOpen] = useState(false);
  const { controls } = playground;
  return (
    <header class="header">
      <Mark />
      <div class="title">
        <h1>clawdb-session</h1>
        <p>
          Playground <span class="version">{state.figures.version}</span>
        </p>
      </div>
      <ThemeSwitch />
      {controls !== undefined && (
        <Button icon="power" onClick={() => setOpen(true)}>
          New instance
        </Button>
      )}
      {open && controls !== undefined && (
        <InstanceDialog controls={controls} onClose={() => setOpen(false)} />
      )}
    </header>
  );
}
