import { useState } from 'preact/hooks';

import type { Playground } from '../model/playground.js';
import { delegation } from '../scenarios/delegation.js';
import { guardDown } from '../scenarios/guard-down.js';
import { killSwitch } from '../scenarios/kill-switch.js';
import { type Scenario, type Step, StepError } from '../scenarios/scenario.js';
import { stolenToken } from '../scenarios/stolen-token.js';
import { Button, Panel } from './controls.js';
import { Icon } from './icons.js';
import { usePage } from './page.js';

/** A scenario that the visitor has started. */
interface Run {
  readonly scenario: Scenario;
  readonly steps: readonly Step[];
  /** What has happened in each step so far. */
  readonly outcomes: readonly string[];
  /** Why the scenario cannot continue. */
  readonly failed: string | undefined;
}

/** The guided scenarios. A run of one ends with the instance in which it began. */
export function Guide() {
  const { state } = usePage();
  return <GuideOfInstance key={state.instance} />;
}

/** A list of scenarios to choose from, or the one that runs. */
function GuideOfInstance() {
  const { playground } = usePage();
  const [run, setRun] = useState<Run>();
  if (run !== undefined) {
    const close = (): void => {
      run.scenario.close?.(playground);
      setRun(undefined);
    };
    return <RunningGuide run={run} onChange={setRun} onClose={close} />;
  }
  const start = (scenario: Scenario): void => {
    setRun({ scenario, steps: scenario.steps(playground), outcomes: [], failed: undefined });
  };
  return (
    <Panel title="Guides">
      <ul class="guides">
        {scenarios(playground).map((scenario) => (
          <li key={scenario.title}>
            <button type="button" class="guide-card" onClick={() => start(scenario)}>
              <span>
                <strong>{scenario.title}</strong>
                <span class="hint">{scenario.summary}</span>
              </span>
              <Icon name="play" />
            </button>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

function scenarios({ controls }: Playground): Scenario[] {
  const always = [killSwitch, stolenToken, delegation];
  return controls === undefined ? always : [...always, guardDown(controls)];
}

interface Props {
  run: Run;
  onChange: (run: Run) => void;
  onClose: () => void;
}

function RunningGuide({ run, onChange, onClose }: Props) {
  const [busy, setBusy] = useState(false);
  const { scenario, steps, outcomes, failed } = run;
  const next = steps[outcomes.length];
  const finished = next === undefined || failed !== undefined;
  const advance = async (): Promise<void> => {
    if (next === undefined || busy) {
      return;
    }
    setBusy(true);
    try {
      onChange({ ...run, outcomes: [...outcomes, await next.run()] });
    } catch (error) {
      if (!(error instanceof StepError)) {
        throw error;
      }
      onChange({ ...run, failed: error.message });
    } finally {
      setBusy(false);
    }
  };
  return (
    <Panel
      title={`Guide: ${scenario.title}`}
      class="guide"
      tools={
        <span class="count">
          {outcomes.length} of {steps.length}
        </span>
      }
    >
      <ol class="steps" aria-live="polite">
        {steps.slice(0, outcomes.length + 1).map(({ text }, index) => {
          const outcome = outcomes[index];
          return (
            <li key={index} data-done={outcome !== undefined}>
              <p>{text}</p>
              {outcome !== undefined && <p class="outcome">{outcome}</p>}
            </li>
          );
        })}
      </ol>
      <p class="guide-failed" role="alert">
        {failed}
      </p>
      <div class="panel-foot">
        {finished ? (
          <Button key="advance" kind="primary" icon="check" onClick={onClose}>
            Finish
          </Button>
        ) : (
          <Button key="advance" kind="primary" icon="play" onClick={advance}>
            Next step
          </Button>
        )}
        {!finished && (
          <Button kind="quiet" onClick={onClose}>
            Stop
          </Button>
        )}
      </div>
    </Panel>
  );
}
