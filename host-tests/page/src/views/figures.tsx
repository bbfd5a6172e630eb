import type { ComponentChildren } from 'preact';

import { Button } from './controls.js';
import { usePage } from './page.js';

/** The current figures, with what a host does about them. */
export function Figures() {
  const { playground, state } = usePage();
  const { figures } = state;
  const { controls } = playground;
  const { liveSessions, pendingRevocations, prunableSessions, ended, denied, lastEvent } = figures;
  return (
    <section class="panel" aria-label="Figures">
      <dl class="figures">
        <Figure name="Active" value={liveSessions} tone={liveSessions > 0 ? 'live' : undefined}>
          <Sparkline values={state.history} />
        </Figure>
        <Figure
          name="Pending revocations"
          value={pendingRevocations}
          tone={pendingRevocations > 0 ? 'warning' : undefined}
        >
          {controls !== undefined && pendingRevocations > 0 && (
            <Button small onClick={() => playground.flushRevocations(controls)}>
              Flush
            </Button>
          )}
        </Figure>
        <Figure
          name="Expired, not pruned"
          value={prunableSessions}
          tone={prunableSessions > 0 ? 'warning' : undefined}
        >
          {controls !== undefined && prunableSessions > 0 && (
            <Button small onClick={() => playground.pruneExpired(controls)}>
              Prune
            </Button>
          )}
        </Figure>
        <Figure name="Ended" value={ended} />
        <Figure name="Refused attempts" value={denied} />
        <Figure name="Events" value={lastEvent} />
      </dl>
    </section>
  );
}

interface FigureProps {
  name: string;
  value: number;
  tone?: 'live' | 'warning' | undefined;
  children?: ComponentChildren;
}

function Figure({ name, value, tone, children }: FigureProps) {
  return (
    <div class="figure">
      <dt>{name}</dt>
      <dd data-tone={tone}>
        <span class="number">{value.toLocaleString('en')}</span>
        {children}
      </dd>
    </div>
  );
}

const WIDTH = 88;
const HEIGHT = 24;

/** The values as a line. */
function Sparkline({ values }: { values: readonly number[] }) {
  const most = Math.max(...values, 1);
  const points = values.map((value, index) => {
    const x = values.length < 2 ? 0 : (index / (values.length - 1)) * WIDTH;
    const y = HEIGHT - 2 - (value / most) * (HEIGHT - 4);
    return `${x.toFixed(1)},${y.toFixed(1)}`;
  });
  return (
    <svg class="sparkline" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT}>
      <polygon points={`0,${HEIGHT} ${points.join(' ')} ${WIDTH},${HEIGHT}`} />
      <polyline points={points.join(' ')} />
    </svg>
  );
}
