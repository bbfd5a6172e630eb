import { HostError } from './errors.js';

/** Runs calls one after the other, in their order. */
export class Queue {
  readonly #busyAfter: number;
  /** Calls that run or wait. */
  #length = 0;
  /** Settles when the last call has ended. */
  #last: Promise<unknown> = Promise.resolve();

  /** Returns a queue in which a call waits for at most `busyAfter` milliseconds. */
  constructor(busyAfter: number) {
    this.#busyAfter = busyAfter;
  }

  /** Returns the result of a call. Throws `busy`, without a call, if it has waited too long. */
  run<R>(call: () => Promise<R>): Promise<R> {
    return new Promise((resolve, reject) => {
      let late = false;
      const expire = (): void => {
        late = true;
        const reason = `calls before this one took longer than ${this.#busyAfter} ms`;
        reject(new HostError('busy', reason));
      };
      const timer = this.#length === 0 ? undefined : setTimeout(expire, this.#busyAfter);
      const turn = async (): Promise<void> => {
        clearTimeout(timer);
        if (!late) {
          await call().then(resolve, reject);
        }
        this.#length -= 1;
      };
      this.#length += 1;
      this.#last = this.#last.then(turn);
    });
  }
}
