import { useState } from 'preact/hooks';

import { Button } from './controls.js';

const DARK = matchMedia('(prefers-color-scheme: dark)');

/** Switches between light and dark. Until it is used, the page follows the system. */
export function ThemeSwitch() {
  const [theme, setTheme] = useState(DARK.matches ? 'dark' : 'light');
  const other = theme === 'dark' ? 'light' : 'dark';
  const change = (): void => {
    document.documentElement.dataset['theme'] = other;
    setTheme(other);
  };
  return (
    <Button
      kind="quiet"
      icon={theme === 'dark' ? 'sun' : 'moon'}
      onClick={change}
      label={`Switch to ${other} colours`}
    >
      <span class="wide-only">{other === 'dark' ? 'Dark' : 'Light'}</span>
    </Button>
  );
}
