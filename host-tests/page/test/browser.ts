/** Chromium with the page in it, and what every test expects of it. */

import assert from 'node:assert/strict';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import { type Browser, type BrowserContextOptions, type Page, chromium } from 'playwright-core';

// @ts-expect-error: it has no types.
import { serve } from '../serve.mjs';

/** The folders that the server of a test serves: the page, and what only tests load. */
const FOLDERS = ['../dist/', 'browser/'].map((folder) => new URL(folder, import.meta.url));

/** A browser and a server, for the tests of a file. */
export class Bench {
  private constructor(
    private readonly browser: Browser,
    private readonly server: Server,
  ) {}

  static async start(): Promise<Bench> {
    const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
    // Chromium's own sandbox does not start as root. The tests load only the page.
    const args = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
    const browser = await chromium.launch({ executablePath, args });
    return new Bench(browser, await serve(0, FOLDERS));
  }

  async end(): Promise<void> {
    await this.browser.close();
    this.server.close();
  }

  /** Returns the address that the server has. */
  get origin(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  version(): string {
    return this.browser.version();
  }

  /**
   * Opens a file of the server in a new window, runs the test, and checks what must not happen in
   * any test: a request to another server, a violation of the policy, an error or a warning.
   */
  async open(
    file: string,
    test: (page: Page) => Promise<void>,
    options: BrowserContextOptions = {},
  ): Promise<void> {
    const context = await this.browser.newContext(options);
    context.setDefaultTimeout(15_000);
    const page = await context.newPage();
    const problems: string[] = [];
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) {
        problems.push(message.text());
      }
    });
    page.on('pageerror', (error) => problems.push(error.message));
    page.on('requestfailed', (request) => problems.push(`failed: ${request.url()}`));
    page.on('request', (request) => {
      if (new URL(request.url()).origin !== this.origin) {
        problems.push(`request to ${request.url()}`);
      }
    });
    await page.addInitScript(() => {
      addEventListener('securitypolicyviolation', (event) => {
        console.error(`violation of ${event.violatedDirective}: ${event.blockedURI}`);
      });
    });
    await page.goto(`${this.origin}/${file}`);
    await test(page);
    await context.close();
    assert.deepEqual(problems, []);
  }
}
