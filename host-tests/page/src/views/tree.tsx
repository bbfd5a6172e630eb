import { useState } from 'preact/hooks';

import { shortDuration } from '../model/format.js';
import { type Entry, agentName, isLive } from '../model/state.js';
import type { TreeNode } from '../model/tree.js';
import { usePage } from './page.js';

/** A visible row of the tree. */
interface Row {
  readonly id: string;
  readonly parent: string | undefined;
  readonly firstChild: string | undefined;
}

interface Shared {
  readonly collapsed: ReadonlySet<string>;
  /** The row that the tab key reaches. */
  readonly reachable: string | undefined;
  toggle(id: string): void;
}

/** The tree. The arrow keys move in it as the ARIA Authoring Practices describe, and select. */
export function Tree({ nodes }: { nodes: readonly TreeNode[] }) {
  const { playground, state } = usePage();
  const [collapsed, setCollapsed] = useState<ReadonlySet<string>>(new Set());
  const rows = visibleRows(nodes, collapsed, undefined);
  const selected = rows.find(({ id }) => id === state.selected);
  const toggle = (id: string): void => {
    const next = new Set(collapsed);
    if (!next.delete(id)) {
      next.add(id);
    }
    setCollapsed(next);
  };
  const goTo = (id: string | undefined): void => {
    if (id !== undefined) {
      playground.select(id);
      document.getElementById(itemId(id))?.focus();
    }
  };
  const move = (event: KeyboardEvent): void => {
    const index = rows.findIndex(({ id }) => itemId(id) === document.activeElement?.id);
    const row = rows[index];
    if (row === undefined) {
      return;
    }
    switch (event.key) {
      case 'ArrowDown':
        goTo(rows[index + 1]?.id);
        break;
      case 'ArrowUp':
        goTo(rows[index - 1]?.id);
        break;
      case 'Home':
        goTo(rows[0]?.id);
        break;
      case 'End':
        goTo(rows.at(-1)?.id);
        break;
      case 'ArrowRight':
        if (collapsed.has(row.id)) {
          toggle(row.id);
        } else {
          goTo(row.firstChild);
        }
        break;
      case 'ArrowLeft':
        if (row.firstChild !== undefined && !collapsed.has(row.id)) {
          toggle(row.id);
        } else {
          goTo(row.parent);
        }
        break;
      case 'Enter':
      case ' ':
        goTo(row.id);
        break;
      default:
        return;
    }
    event.preventDefault();
  };
  const shared = { collapsed, toggle, reachable: (selected ?? rows[0])?.id };
  return (
    <ul class="tree" role="tree" aria-label="Delegations" onKeyDown={move}>
      {nodes.map((node, index) => (
        <Item
          key={node.entry.session.id}
          node={node}
          level={1}
          position={index + 1}
          siblings={nodes.length}
          shared={shared}
        />
      ))}
    </ul>
  );
}

interface ItemProps {
  node: TreeNode;
  /** The depth in the tree, from 1. */
  level: number;
  /** The place among the siblings, from 1. */
  position: number;
  siblings: number;
  shared: Shared;
}

/**
 * A row and those below it. The item is the row alone, so that its name has not the texts of all
 * below it; its level says where it is.
 */
function Item({ node, level, position, siblings, shared }: ItemProps) {
  const { playground, state } = usePage();
  const { entry, children } = node;
  const { id } = entry.session;
  const open = !shared.collapsed.has(id);
  return (
    <li role="none">
      <div
        class="row"
        role="treeitem"
        id={itemId(id)}
        aria-level={level}
        aria-posinset={position}
        aria-setsize={siblings}
        aria-selected={state.selected === id}
        aria-expanded={children.length > 0 ? open : undefined}
        tabIndex={shared.reachable === id ? 0 : -1}
        onClick={() => playground.select(id)}
      >
        {children.length > 0 ? (
          <span
            class={open ? 'twist open' : 'twist'}
            onClick={(event) => {
              event.stopPropagation();
              shared.toggle(id);
            }}
          />
        ) : (
          <span class="twist-place" />
        )}
        <RowContent entry={entry} />
      </div>
      {children.length > 0 && open && (
        <ul role="none" class="below">
          {children.map((child, index) => (
            <Item
              key={child.entry.session.id}
              node={child}
              level={level + 1}
              position={index + 1}
              siblings={children.length}
              shared={shared}
            />
          ))}
        </ul>
      )}
    </li>
  );
}

/** How many scopes a row shows. */
const MAX_SCOPES = 3;

function RowContent({ entry }: { entry: Entry }) {
  const { state, now } = usePage();
  const { session, end } = entry;
  const live = isLive(entry, now);
  const status = end !== undefined ? 'ended' : live ? 'live' : 'expired';
  const hidden = session.scopes.length - MAX_SCOPES;
  return (
    <>
      <span class={`dot ${status}`} />
      <span class="row-name cut">
        <span class="role">{session.role}</span>{' '}
        <span class="agent">{agentName(state, session.agentId)}</span>
        <span class="hidden">{status}</span>
      </span>
      <span class="row-scopes cut">
        {session.scopes.slice(0, MAX_SCOPES).map((scope) => (
          <code class="chip" key={scope}>
            {scope}
          </code>
        ))}
        {hidden > 0 && <span class="hint">+{hidden}</span>}
      </span>
      <span class="row-uses">
        {session.usesLeft !== undefined && live ? `${session.usesLeft}×` : ''}
      </span>
      <span class="row-time">
        {live ? (
          <>
            <span class="bar">
              <span style={{ '--left': timeLeft(entry, now) }} />
            </span>
            <span class="time-left">{shortDuration(session.expiresAt - now)}</span>
          </>
        ) : (
          <span class={end?.reason === 'theft' ? 'tag danger' : 'tag ended'}>
            {end?.reason ?? 'expired'}
          </span>
        )}
      </span>
    </>
  );
}

/** Returns the part of its time that a session has left. */
function timeLeft({ session }: Entry, now: number): string {
  const { createdAt, expiresAt } = session;
  return Math.max(0, Math.min(1, (expiresAt - now) / (expiresAt - createdAt))).toFixed(3);
}

function itemId(sessionId: string): string {
  return `session-${sessionId}`;
}

function visibleRows(
  nodes: readonly TreeNode[],
  collapsed: ReadonlySet<string>,
  parent: string | undefined,
): Row[] {
  return nodes.flatMap(({ entry, children }) => {
    const { id } = entry.session;
    const row = { id, parent, firstChild: children[0]?.entry.session.id };
    return [row, ...(collapsed.has(id) ? [] : visibleRows(children, collapsed, id))];
  });
}
