/** A clock that runs with real time and can be moved. */

import type { ClockControl } from './backend/backend.js';

export class PageClock implements ClockControl {
  #offset = 0;

  get offset(): number {
    return this.#offset;
  }

  /** Returns the time in milliseconds since 1970. */
  now(): number {
    return Date.now() + this.#offset;
  }

  advance(millis: number): void {
    this.#offset += millis;
  }

  reset(): void {
    this.#offset = 0;
  }
}
