/** The errors of the package as the errors of a backend. */

import {
  type AnySessionError,
  ArgumentRangeError,
  ArgumentTypeError,
  HostError,
  SessionError,
} from 'clawdb-session';

import { BackendError, type Failure } from './backend.js';

/** Returns the error of a backend for what the package threw. Rethrows what is no error of it. */
export function backendError(thrown: unknown): BackendError {
  return new BackendError(failure(thrown), { cause: thrown });
}

function failure(thrown: unknown): Failure {
  if (thrown instanceof SessionError) {
    return refusal(thrown as AnySessionError);
  }
  // The package checks what the contract's types cannot represent, such as half a second.
  if (thrown instanceof ArgumentTypeError || thrown instanceof ArgumentRangeError) {
    return invalidArgument(thrown.argument, thrown.reason);
  }
  if (thrown instanceof HostError) {
    return { kind: thrown.kind, payload: { reason: thrown.message } };
  }
  throw thrown;
}

function refusal(error: AnySessionError): Failure {
  const { kind } = error;
  switch (kind) {
    case 'invalid-argument':
      return invalidArgument(error.field, error.reason);
    case 'limit-reached':
      return { kind, payload: { limit: error.limit } };
    case 'scope-denied':
      return { kind, payload: { scope: error.scope } };
    case 'guard': {
      const { kind: guard, reason } = error.guardError;
      return { kind, guard, payload: reason === undefined ? {} : { reason } };
    }
    case 'refused-record':
      return { kind, payload: { key: error.key, reason: error.reason } };
    case 'collision':
      return { kind, payload: { duplicate: error.duplicate } };
    case 'clock-behind':
      return { kind, payload: { lag: error.lag } };
    default:
      return { kind, payload: {} };
  }
}

/** The contract writes the names of arguments in kebab-case. */
function invalidArgument(argument: string, reason: string): Failure {
  const field = argument.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return { kind: 'invalid-argument', payload: { field, reason } };
}
