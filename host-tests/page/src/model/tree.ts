/** The delegations as a tree. */

import type { Entry } from './state.js';

export interface TreeNode {
  readonly entry: Entry;
  readonly children: readonly TreeNode[];
}

/** Returns the sessions that nothing delegated, with all below them. */
export function forest(sessions: Iterable<Entry>): TreeNode[] {
  const entries = [...sessions];
  const known = new Set(entries.map(({ session }) => session.id));
  const below = new Map<string | undefined, Entry[]>();
  for (const entry of entries) {
    const { parent } = entry.session;
    // A session whose parent the page does not know is shown at the top.
    const place = parent !== undefined && known.has(parent) ? parent : undefined;
    below.set(place, [...(below.get(place) ?? []), entry]);
  }
  const nodes = (parent: string | undefined): TreeNode[] =>
    (below.get(parent) ?? []).map((entry) => ({ entry, children: nodes(entry.session.id) }));
  return nodes(undefined);
}

/** Returns the nodes without the sessions that have ended, except those above a live one. */
export function withoutEnded(nodes: readonly TreeNode[]): TreeNode[] {
  return nodes.flatMap(({ entry, children }) => {
    const left = withoutEnded(children);
    return entry.end === undefined || left.length > 0 ? [{ entry, children: left }] : [];
  });
}
