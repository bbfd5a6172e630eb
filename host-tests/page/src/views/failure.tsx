import type { Failure } from '../backend/backend.js';
import { failureMeaning, failureName, payloadTexts } from '../model/meanings.js';

/** An error by its name in the contract, with its payload and what it means. */
export function FailureNote({ failure }: { failure: Failure }) {
  return (
    <span class="failure">
      <code class="failure-name">{failureName(failure)}</code>
      {payloadTexts(failure).map(([name, text]) => (
        <code class="payload" key={name}>
          <span class="payload-name">{name}</span> {text}
        </code>
      ))}
      <span class="meaning">{failureMeaning(failure)}</span>
    </span>
  );
}
