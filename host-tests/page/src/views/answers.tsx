import { measured } from '../model/format.js';
import { Panel } from './controls.js';
import { FailureNote } from './failure.js';
import { usePage } from './page.js';

/** The last calls with their answers, newest first. */
export function Answers() {
  const { state } = usePage();
  return (
    <Panel title="Answers" class="scrolls" tools={<span class="count">{state.calls.length}</span>}>
      {state.calls.length === 0 && <p class="empty">No call has been made yet.</p>}
      {state.calls.length > 0 && (
        <ol class="answers" reversed tabIndex={0} aria-label="Answers, newest first">
          {state.calls.map(({ id, operation, micros, answer }) => (
            <li key={id}>
              <p class="answer-head">
                <code>{operation}</code>
                <span class={answer.ok ? 'tag live' : 'tag danger'}>
                  {answer.ok ? 'ok' : 'refused'}
                </span>
                <span class="micros">{measured(micros)}</span>
              </p>
              <p class="answer-body">
                {answer.ok ? answer.text : <FailureNote failure={answer.failure} />}
              </p>
            </li>
          ))}
        </ol>
      )}
    </Panel>
  );
}
