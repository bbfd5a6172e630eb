/** The types of the component, from those that jco generates. */

import type * as generatedEvents from '../build/sync/interfaces/clawdb-session-sync-events.js';
import type * as generatedGuard from '../build/sync/interfaces/clawdb-session-sync-guard.js';
import type * as clock from '../build/sync/interfaces/wasi-clocks-wall-clock.js';
import type * as random from '../build/sync/interfaces/wasi-random-random.js';
import type { ImportObject, Root } from '../build/sync/component.js';

export type * from '../build/sync/interfaces/clawdb-session-sync-sessions.js';
export type {
  Claims,
  IssueRequest,
  IssuedToken,
} from '../build/sync/interfaces/clawdb-session-sync-guard.js';
export type {
  Change,
  ChangePage,
} from '../build/sync/interfaces/clawdb-session-sync-persistence.js';
export type {
  Config,
  Overflow,
  Statistics,
} from '../build/sync/interfaces/clawdb-session-sync-settings.js';
export type Event = generatedEvents.Event;
export type EventKind = generatedEvents.EventKind;
export type EventPage = generatedEvents.EventPage;

/** The exports of an instance. */
export type Component = Root;

/** The imports that the guard implements. */
export type GuardImports = typeof generatedGuard;

/** The imports that a guard implements which may wait. */
export type AsyncGuardImports = {
  [Name in keyof GuardImports]: (
    ...args: Parameters<GuardImports[Name]>
  ) => Promise<ReturnType<GuardImports[Name]>>;
};

/** The imports of WASI. */
export interface AmbientImports {
  'wasi:clocks/wall-clock': typeof clock;
  'wasi:random/random': typeof random;
}

/** The imports of the component. The generated code reads them without versions. */
export interface Imports<G> extends AmbientImports {
  'clawdb:session-sync/guard': G;
}

/** The generated function that makes an instance. */
export type Instantiate<G> = (
  coreModule: (file: string) => Promise<WebAssembly.Module>,
  imports: Imports<G>,
) => Promise<Component>;

/** Returns the generated function with the types of the code, which differ from the generated. */
export function typed<G>(
  instantiate: (
    coreModule: (file: string) => Promise<WebAssembly.Module>,
    imports: ImportObject,
  ) => Component | Promise<Component>,
): Instantiate<G> {
  return instantiate as unknown as Instantiate<G>;
}
