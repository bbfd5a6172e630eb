import { ignorePromise } from './promises.js';

type Handler = ((event: Event) => unknown) | null;

/** What the runtime calls for each listener that a guard added. */
const listeners = new WeakMap<object, EventListener>();
/** What guards have set as `onabort`. */
const handlers = new WeakMap<AbortSignal, { handler: Handler; listener: Handler }>();

/**
 * A signal whose listeners cannot end the process: what they throw, or reject with, is ignored. The
 * runtime reports it as an exception that nobody caught.
 */
class GuardSignal extends AbortSignal {
  override addEventListener(type: string, listener: unknown, options?: unknown): void {
    super.addEventListener(type, safe(listener), options as AddEventListenerOptions);
  }

  override removeEventListener(type: string, listener: unknown, options?: unknown): void {
    super.removeEventListener(type, safe(listener), options as EventListenerOptions);
  }

  override get onabort(): Handler {
    return handlers.get(this)?.handler ?? null;
  }

  override set onabort(value: Handler) {
    this.removeEventListener('abort', handlers.get(this)?.listener ?? null);
    const handler = typeof value === 'function' ? value : null;
    const listener = handler && ((event: Event) => handler.call(this, event));
    handlers.set(this, { handler, listener });
    this.addEventListener('abort', listener);
  }
}

/** Returns a controller of the signal that a guard gets. */
export function guardController(): AbortController {
  const controller = new AbortController();
  // A controller makes its own signal, so the class of that signal is changed.
  Object.setPrototypeOf(controller.signal, GuardSignal.prototype);
  return controller;
}

/** Returns a listener that calls this one and throws nothing. What is no listener is unchanged. */
function safe(listener: unknown): EventListener {
  if (listener === null || !['function', 'object'].includes(typeof listener)) {
    return listener as EventListener;
  }
  const known = listeners.get(listener as object);
  if (known !== undefined) {
    return known;
  }
  const created = function (this: unknown, event: Event): void {
    try {
      ignorePromise(
        typeof listener === 'function'
          ? listener.call(this, event)
          : (listener as EventListenerObject).handleEvent(event),
      );
    } catch {
      // The function that got the signal counts as unavailable in any case.
    }
  };
  listeners.set(listener as object, created);
  return created;
}
