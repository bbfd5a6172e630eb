/**
 * Compares the package's names with those of the component's types, in both directions. It is
 * compiled and not run: a name that only one of them has is an error.
 */

import type * as model from 'clawdb-session';

import type * as component from '../src/component.js';
import type { Component } from '../src/component.js';

type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;
type SameKeys<A, B> = Same<keyof A, keyof B>;
type Expect<T extends true> = T;
type Kinds<T> = T extends { kind: infer K } ? K : never;
type Tags<T> = T extends { tag: infer K } ? K : never;
type Reason<K> = Extract<model.EventKind, { kind: K }> extends { reason: infer R } ? R : never;
type Payload<K> = Extract<component.EventKind, { tag: K }> extends { val: infer R } ? R : never;

/** The names of an event, whose kind has a name of its own. */
type EventNames = Exclude<keyof model.Event, 'reason'>;

export type Records = [
  Expect<SameKeys<model.CreateRequest, component.CreateRequest>>,
  Expect<SameKeys<model.Session, component.Session>>,
  Expect<SameKeys<model.Grant, component.Grant>>,
  Expect<SameKeys<model.Revocation, component.Revocation>>,
  Expect<SameKeys<model.FlushReport, component.FlushReport>>,
  Expect<SameKeys<model.Page, component.Page>>,
  Expect<SameKeys<model.SessionPage, component.SessionPage>>,
  Expect<SameKeys<model.Change, component.Change>>,
  Expect<SameKeys<model.ChangePage, component.ChangePage>>,
  Expect<SameKeys<model.Config, component.Config>>,
  Expect<SameKeys<model.Statistics, component.Statistics>>,
  Expect<SameKeys<model.EventPage, component.EventPage>>,
  Expect<Same<EventNames, keyof component.Event>>,
  Expect<SameKeys<model.IssueRequest, component.IssueRequest>>,
  Expect<SameKeys<model.IssuedToken, component.IssuedToken>>,
  Expect<SameKeys<model.Claims, component.Claims>>,
];

export type Choices = [
  Expect<Same<model.SessionErrorKind, Tags<component.Error>>>,
  Expect<Same<Kinds<model.AnySessionError>, Tags<component.Error>>>,
  Expect<Same<model.GuardErrorKind, Tags<component.GuardError>>>,
  Expect<Same<model.GuardErrorWithReason, Tags<Extract<component.GuardError, { val: unknown }>>>>,
  Expect<Same<model.Limit, component.Limit>>,
  Expect<Same<model.Duplicate, component.Duplicate>>,
  Expect<Same<model.Overflow, component.Overflow>>,
  Expect<Same<Kinds<model.EventKind>, Tags<component.EventKind>>>,
  Expect<Same<model.EndReason, Payload<'ended'>>>,
  Expect<Same<model.Denial, Payload<'denied'>>>,
  Expect<Same<model.EndReason, Reason<'ended'>>>,
  Expect<Same<model.Denial, Reason<'denied'>>>,
];

/** The operations of all interfaces of the component. */
type Functions = {
  [Name in 'sessions' | 'legacy' | 'events' | 'persistence' | 'settings']: keyof Component[Name];
}[keyof Pick<Component, 'sessions' | 'legacy' | 'events' | 'persistence' | 'settings'>];

export type Operations = [
  Expect<Same<keyof model.Operations, Functions>>,
  Expect<Same<keyof model.AsyncOperations, Functions>>,
];
