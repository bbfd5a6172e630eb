/** Starts the component and shows the page. */

import { render } from 'preact';

import { ComponentBackend } from './backend/component-backend.js';
import { Playground } from './model/playground.js';
import { App } from './views/app.js';

/** How often the page reads events and figures without a call of the visitor, in milliseconds. */
const READ_EVERY = 1_000;

const [place, start] = ['page', 'start'].map((id) => document.getElementById(id));
if (!place || !start) {
  throw new Error('the page has no place for the app');
}
try {
  const playground = await Playground.start(await ComponentBackend.start());
  place.replaceChildren();
  render(<App playground={playground} />, place);
  setInterval(() => void playground.read(), READ_EVERY);
} catch (error) {
  const reason = error instanceof Error ? error.message : String(error);
  start.setAttribute('role', 'alert');
  start.textContent = `The component could not be started: ${reason}`;
  throw error;
}
