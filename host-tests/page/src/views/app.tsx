import type { Playground } from '../model/playground.js';
import { Agents } from './agents.js';
import { Answers } from './answers.js';
import { Environment } from './environment.js';
import { Figures } from './figures.js';
import { Guide } from './guide.js';
import { Header } from './header.js';
import { KillSwitches } from './kill-switches.js';
import { PageContext, useChanges } from './page.js';
import { SessionDetail } from './session-detail.js';
import { Sessions } from './sessions.js';
import { StatusBar } from './status-bar.js';
import { Stolen } from './stolen.js';
import { Timeline } from './timeline.js';

export function App({ playground }: { playground: Playground }) {
  return (
    <PageContext.Provider value={useChanges(playground)}>
      <Header />
      <main>
        <Environment />
        <Figures />
        <div class="columns">
          <div class="column side">
            <Guide />
            <Agents />
            <KillSwitches />
          </div>
          <div class="column centre">
            <Sessions />
            <SessionDetail />
            <Stolen />
          </div>
          <div class="column side">
            <Timeline />
            <Answers />
          </div>
        </div>
      </main>
      <StatusBar />
    </PageContext.Provider>
  );
}
