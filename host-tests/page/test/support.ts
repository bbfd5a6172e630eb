/** The server and the browser of the tests. */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after, before } from 'node:test';
import { fileURLToPath } from 'node:url';

import { type Browser, type Page, chromium } from 'playwright-core';

/** The folder of the page. The tests run in `build/test/`. */
export const FOLDER = fileURLToPath(new URL('../..', import.meta.url));

/** Chromium asks nothing of the network by itself with these. Root needs `--no-sandbox`. */
const ARGUMENTS = [
  ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-gpu',
  '--disable-quic',
  '--disable-sync',
  '--no-first-run',
];

interface Opening {
  /** The file to open; the page itself by default. */
  file?: string;
  scheme?: 'light' | 'dark';
  width?: number;
  height?: number;
  /** Is called before the file is requested. */
  before?: (page: Page) => Promise<unknown>;
}

/** A server and a browser, and everything that went wrong in the pages that were opened. */
export class Site {
  readonly address: string;
  readonly problems: string[] = [];
  readonly #server: ChildProcess;
  readonly #browser: Browser;

  private constructor(address: string, server: ChildProcess, browser: Browser) {
    this.address = address;
    this.#server = server;
    this.#browser = browser;
  }

  static async start(): Promise<Site> {
    const server = spawn(process.execPath, ['serve.mjs', '0', 'build/browser'], {
      cwd: FOLDER,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const address = await firstAddress(server);
    const executablePath = chromiumFile();
    return new Site(address, server, await chromium.launch({ executablePath, args: ARGUMENTS }));
  }

  /** Opens a page, with a context of its own. */
  async open(opening: Opening = {}): Promise<Page> {
    const { file = '', scheme = 'light', width = 1_440, height = 900, before } = opening;
    const viewport = { width, height };
    const page = await this.#browser.newPage({ viewport, colorScheme: scheme });
    page.setDefaultTimeout(20_000);
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') {
        this.problems.push(`console: ${message.text()}`);
      }
    });
    page.on('pageerror', (error) => this.problems.push(`exception: ${error.message}`));
    page.on('dialog', (dialog) => {
      this.problems.push(`a dialog of a script: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on('requestfailed', (request) => this.problems.push(`failed: ${request.url()}`));
    page.on('request', (request) => {
      if (!request.url().startsWith(this.address)) {
        this.problems.push(`a request to another origin: ${request.url()}`);
      }
    });
    await page.addInitScript(() => {
      document.addEventListener('securitypolicyviolation', (event) => {
        console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`);
      });
    });
    await before?.(page);
    await page.goto(`${this.address}${file}`);
    return page;
  }

  async stop(): Promise<void> {
    await this.#browser.close();
    this.#server.kill();
  }
}

/** Gives the tests of a file a site. After them, nothing may have gone wrong in it. */
export function useSite(): { readonly site: Site } {
  let site: Site | undefined;
  before(async () => {
    site = await Site.start();
  });
  after(async () => {
    await site?.stop();
    assert.deepEqual(site?.problems, []);
  });
  return {
    get site() {
      assert.ok(site !== undefined);
      return site;
    },
  };
}

function firstAddress(server: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    assert.ok(server.stdout !== null);
    createInterface(server.stdout).once('line', (line) => {
      const address = /^http:\S+/.exec(line)?.[0];
      assert.ok(address !== undefined, line);
      resolve(address);
    });
    server.once('error', reject);
    server.once('exit', (code) => reject(new Error(`the server ended with ${code}`)));
  });
}

/** Returns the file of Chromium: that of `CHROMIUM`, or the first in `PATH`. */
function chromiumFile(): string {
  const named = process.env['CHROMIUM'];
  if (named !== undefined && named !== '') {
    return named;
  }
  const folders = (process.env['PATH'] ?? '').split(path.delimiter);
  const files = folders.map((folder) => path.join(folder, 'chromium'));
  const file = files.find((file) => existsSync(file));
  assert.ok(file !== undefined, 'chromium is missing: set CHROMIUM to its file');
  return file;
}
