// Serves the page on this machine only: `node serve.mjs [port [folder...]]`. Port 0 takes any free
// port. Files that `dist/` does not have come from the other folders.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import path from 'node:path';

const TYPES = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
};

/** What every answer has. The README of the page lists the same headers. */
const HEADERS = {
  'Content-Security-Policy': [
    "default-src 'none'",
    "script-src 'self' 'wasm-unsafe-eval'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; '),
  // With these two, the page's timer has a resolution of microseconds.
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
  'Cache-Control': 'no-cache',
};

/**
 * Starts a server for the files of the folders, and returns it. A file of an earlier folder takes
 * precedence. Folders inside them are not served.
 */
function serve(port, folders) {
  const server = createServer(async (request, response) => {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      send(response, 405, 'Only GET and HEAD are allowed', { Allow: 'GET, HEAD' });
      return;
    }
    const name = fileName(request.url ?? '');
    const type = name === undefined ? undefined : TYPES[path.extname(name)];
    const content = type === undefined ? undefined : await firstFile(folders, name);
    if (content === undefined) {
      send(response, 404, 'There is no such file');
      return;
    }
    const length = { 'Content-Type': type, 'Content-Length': content.length };
    response.writeHead(200, { ...HEADERS, ...length });
    response.end(request.method === 'HEAD' ? undefined : content);
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}

function send(response, status, text, headers = {}) {
  const type = { 'Content-Type': 'text/plain; charset=utf-8' };
  response.writeHead(status, { ...HEADERS, ...type, ...headers });
  response.end(`${text}\n`);
}

/** Returns the name of the file that an address names, if it is a plain name. */
function fileName(address) {
  const [, name] = /^\/([\w.-]*)(?:\?.*)?$/.exec(address) ?? [];
  return name === '' ? 'index.html' : name;
}

async function firstFile(folders, name) {
  for (const folder of folders) {
    try {
      return await readFile(new URL(name, folder));
    } catch (error) {
      if (error.code !== 'ENOENT') {
        throw error;
      }
    }
  }
  return undefined;
}

function fail(reason) {
  console.error(`error: ${reason}`);
  process.exit(1);
}

const [port = '8080', ...others] = process.argv.slice(2);
if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
  fail(`${JSON.stringify(port)} is not a port: give a number from 0 to 65535`);
}
const folders = ['dist', ...others].map((folder) => new URL(`${folder}/`, import.meta.url));
try {
  const server = await serve(Number(port), folders);
  console.log(`http://127.0.0.1:${server.address().port}/ serves the page; Ctrl+C stops it`);
} catch (error) {
  fail(`port ${port} cannot be used: ${error.code}`);
}
