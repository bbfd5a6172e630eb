/** Icons of 16 by 16, drawn with lines. They are decoration: texts name what they stand for. */

const PATHS = {
  check: 'm3.5 8.5 3 3 6-7',
  clock: 'M8 2.5a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11M8 5v3l2 1.5',
  copy: 'M6 6h7v7H6zM3 10V3h7',
  cross: 'm4 4 8 8m0-8-8 8',
  delegate: 'M4 3v5a3 3 0 0 0 3 3h5M9.5 8.5 12 11l-2.5 2.5',
  exit: 'M9.5 3H4v10h5.5M7.5 8H14m-2.5-2.5L14 8l-2.5 2.5',
  flag: 'M4 14V2.5h8L10 5.5l2 3H4',
  moon: 'M13 9.5A5.5 5.5 0 0 1 6.5 3a5.5 5.5 0 1 0 6.5 6.5',
  play: 'M5 3.5v9l7-4.5z',
  plus: 'M8 3v10M3 8h10',
  power: 'M8 2.5v5M5 4a5 5 0 1 0 6 0',
  refresh: 'M13 8a5 5 0 1 1-1.5-3.6M12 2v3H9',
  rotate: 'M3 7a5 5 0 0 1 9-2m1-2.5V5.5h-3M13 9a5 5 0 0 1-9 2m-1 2.5v-3h3',
  shield: 'M8 2.5 13 4v4c0 3-2 5-5 6-3-1-5-3-5-6V4z',
  sun:
    'M8 5.5a2.5 2.5 0 1 1 0 5 2.5 2.5 0 0 1 0-5M8 1.5v1m0 11v1M1.5 8h1m11 0h1' +
    'M3.4 3.4l.7.7m7.8 7.8.7.7m0-9.2-.7.7m-7.8 7.8-.7.7',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

/** The mark of the page: a tree of three nodes. */
export function Mark() {
  return <img class="mark" src="icon.svg" alt="" width="28" height="28" />;
}
