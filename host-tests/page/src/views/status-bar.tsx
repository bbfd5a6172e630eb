import { measured } from '../model/format.js';
import { FailureNote } from './failure.js';
import { usePage } from './page.js';

/** The newest answer. Screen readers read it when it changes. */
export function StatusBar() {
  const [newest] = usePage().state.calls;
  return (
    <footer class="status-bar" data-tone={newest === undefined || newest.answer.ok ? 'ok' : 'refused'}>
      <p role="status" aria-label="Newest answer">
        {newest === undefined ? (
          <span class="hint">
            The component runs in this page. Nothing is sent anywhere, and nothing is stored.
          </span>
        ) : (
          <>
            <code>{newest.operation}</code>{' '}
            {newest.answer.ok ? newest.answer.text : <FailureNote failure={newest.answer.failure} />}
          </>
        )}
      </p>
      {newest !== undefined && <span class="micros">{measured(newest.micros)}</span>}
    </footer>
  );
}
