import type { GuardControl } from '../backend/backend.js';
import { count, timeOfDay } from '../model/format.js';
import { sessionName } from '../model/state.js';
import { Dialog } from './controls.js';
import { usePage } from './page.js';

interface Props {
  guard: GuardControl;
  onClose: () => void;
}

/** What the guard holds: the handles of its tokens, and which of them are revoked. */
export function GuardDialog({ guard, onClose }: Props) {
  const { state } = usePage();
  const { issue, validate, revoke } = guard.calls;
  const tokens = guard.tokens().reverse();
  return (
    <Dialog title="What the guard holds" onClose={onClose}>
      {() => (
        <div class="form">
          <p class="intro">
            {count(issue, 'token')} asked for, {count(validate, 'validation')},{' '}
            {count(revoke, 'revocation')}. The guard keeps handles, never tokens.
          </p>
          {/* It scrolls, so the keyboard must reach it. */}
          <div class="table-frame" role="region" aria-label="Tokens of the guard" tabIndex={0}>
            <table>
              <thead>
                <tr>
                  <th scope="col">Handle</th>
                  <th scope="col">Session</th>
                  <th scope="col">Expires</th>
                  <th scope="col">With the guard</th>
                </tr>
              </thead>
              <tbody>
                {tokens.map(({ handle, sessionId, expiresAt, state: validity }) => (
                  <tr key={handle}>
                    <td>
                      <code>{handle.slice(0, 8)}</code>
                    </td>
                    <td class="cut">{sessionName(state, sessionId)}</td>
                    <td>{timeOfDay(expiresAt)}</td>
                    <td>
                      <span class={`tag ${validity === 'valid' ? 'live' : 'ended'}`}>
                        {validity}
                      </span>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
            {tokens.length === 0 && <p class="empty">It has issued no token yet.</p>}
          </div>
        </div>
      )}
    </Dialog>
  );
}
