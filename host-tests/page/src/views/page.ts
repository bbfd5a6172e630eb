/** What all views get: the playground, its state, and the time. */

import { createContext } from 'preact';
import { useContext, useEffect, useState } from 'preact/hooks';

import type { Playground } from '../model/playground.js';
import type { State } from '../model/state.js';

interface Page {
  readonly playground: Playground;
  readonly state: State;
  /** The backend's time. */
  readonly now: number;
}

export const PageContext = createContext<Page | undefined>(undefined);

export function usePage(): Page {
  const page = useContext(PageContext);
  if (page === undefined) {
    throw new Error('a view is outside the page');
  }
  return page;
}

/** Returns what the views get, anew after each change of the playground. */
export function useChanges(playground: Playground): Page {
  const [page, setPage] = useState(() => current(playground));
  useEffect(() => playground.subscribe(() => setPage(current(playground))), [playground]);
  return page;
}

function current(playground: Playground): Page {
  return { playground, state: playground.state, now: playground.now() };
}
