import type { Event } from '../backend/backend.js';
import { count, timeOfDay } from '../model/format.js';
import { eventMeaning } from '../model/meanings.js';
import { sessionName } from '../model/state.js';
import { Panel } from './controls.js';
import { usePage } from './page.js';

/** How many events the timeline shows. */
const MAX_SHOWN = 200;

/** The events, newest first. */
export function Timeline() {
  const { state } = usePage();
  const shown = state.events.slice(-MAX_SHOWN).reverse();
  return (
    <Panel title="Events" class="scrolls" tools={<span class="count">{state.events.length}</span>}>
      {shown.length === 0 && <p class="empty">Nothing has happened yet.</p>}
      {shown.length > 0 && (
        <ol class="timeline" reversed tabIndex={0} aria-label="Events, newest first">
          {shown.map((event) => (
            <li key={event.sequence} data-tone={tone(event)}>
              <p class="event-head">
                <span class="event-kind">{event.kind}</span>
                {'reason' in event && <code class="reason">{event.reason}</code>}
                <time>{timeOfDay(event.time)}</time>
              </p>
              <p class="event-body">
                <SessionLink id={event.sessionId} />
                <span class="hint">{eventMeaning(event)}</span>
              </p>
            </li>
          ))}
        </ol>
      )}
      {state.missed > 0 && (
        <p class="panel-foot hint">{count(state.missed, 'older event')} were not read.</p>
      )}
    </Panel>
  );
}

/** A button that selects a session, or its name if the page has forgotten it. */
function SessionLink({ id }: { id: string }) {
  const { playground, state } = usePage();
  const name = sessionName(state, id);
  if (!state.sessions.has(id)) {
    return <span class="cut">{name}</span>;
  }
  return (
    <button type="button" class="link cut" onClick={() => playground.select(id)}>
      {name}
    </button>
  );
}

function tone(event: Event): string {
  switch (event.kind) {
    case 'created':
      return 'live';
    case 'denied':
      return 'warning';
    case 'ended':
      return event.reason === 'theft' ? 'danger' : 'ended';
    default:
      return 'accent';
  }
}
