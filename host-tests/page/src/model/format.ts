/** Values as short texts. */

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1_000],
] as const;

/** Returns a number with its noun, in the plural unless it is 1. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

/** Returns a length of time in at most two units, such as `1 h 20 min`. */
export function duration(millis: number): string {
  const first = UNITS.findIndex(([, size]) => millis >= size);
  if (first < 0) {
    return millis > 0 ? 'less than 1 s' : '0 s';
  }
  let rest = millis;
  const parts = UNITS.slice(first, first + 2).map(([unit, size]) => {
    const whole = Math.floor(rest / size);
    rest -= whole * size;
    return whole > 0 ? `${whole} ${unit}` : '';
  });
  return parts.filter((part) => part !== '').join(' ');
}

/** Returns a length of time in its largest unit, such as `59 min`. */
export function shortDuration(millis: number): string {
  const [unit, size] = UNITS.find(([, size]) => millis >= size) ?? ['s', 1_000];
  return `${Math.floor(millis / size)} ${unit}`;
}

/** Returns a measured time, such as `41 µs`. */
export function measured(micros: number): string {
  return micros < 1_000 ? `${Math.round(micros)} µs` : `${(micros / 1_000).toFixed(1)} ms`;
}

const TIME = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium' });
const DATE = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium' });

/** Returns the time of day, in the visitor's time zone. */
export function timeOfDay(millis: number): string {
  return TIME.format(millis);
}

/** Returns the day, in the visitor's time zone. */
export function day(millis: number): string {
  return DATE.format(millis);
}

/** Returns the beginning of an id, which is enough to tell ids apart. */
export function shortId(id: string): string {
  return id.slice(0, 8);
}
