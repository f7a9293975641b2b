// What the tests of the console share: servers, a browser, claims about pages.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const BINARY = resolve(process.argv[2]);
const CHROMIUM = '/usr/bin/chromium';
// The search for leaks looks at the process from outside, which the sandbox does not allow.
const code = readFileSync(BINARY);
const SANITIZED = code.includes('__asan_init') || code.includes('__tsan_init');
export const HANGS_MS = SANITIZED ? 300000 : 120000;

if (!existsSync(CHROMIUM)) {
  console.log('1..0 # SKIP chromium is not installed');
  process.exit(0);
}
const { chromium } = createRequire(`${process.env.NODE_DIRECTORY}/`)('playwright-core');
const work = mkdtempSync(join(tmpdir(), 'stele-console-'));
process.on('exit', () => rmSync(work, { recursive: true, force: true }));

const running = new Set();
process.on('exit', () => running.forEach((server) => server.process.kill('SIGKILL')));

export class Server {
  constructor(name, ...args) {
    this.name = name;
    this.args = args;
    this.port = 0;
  }

  async start(env = {}) {
    this.process = spawn(BINARY, ['serve', '--store', join(work, this.name), '--port', String(this.port),
      ...(SANITIZED ? ['--no-sandbox'] : []), ...this.args],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    running.add(this);
    let output = '';
    this.ended = new Promise((done) => { this.process.on('exit', done); });
    await new Promise((ready, failed) => {
      const take = (data) => {
        output += data;
        const found = /stele is ready: 127\.0\.0\.1:(\d+)/.exec(output);
        if (found) {
          this.port = Number(found[1]);
          ready();
        }
      };
      this.process.stdout.on('data', take);
      this.process.stderr.on('data', take);
      this.ended.then(() => failed(new Error(`the server ended: ${output}`)));
    });
    this.url = `http://localhost:${this.port}`;
    return this;
  }

  async stop() {
    this.process.kill('SIGTERM');
    assert.equal(await this.ended, 0);
    running.delete(this);
  }

  async ask(path, options = {}) {
    const response = await fetch(this.url + path, options);
    const text = await response.text();
    assert.ok(response.ok, `${path}: ${response.status} ${text}`);
    return text === '' ? undefined : JSON.parse(text);
  }

  // body: an object, or text that is JSON.
  append(stream, body, headers = {}) {
    return this.ask(`/api/streams/${encodeURIComponent(stream)}`, {
      method: 'POST', headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body) });
  }
}

let browser;
export async function openBrowser() {
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--headless', '--no-sandbox',
    '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'] });
}
export const closeBrowser = () => browser.close();

// A page that fails on everything a page of ours must not do. mistakes: what it did so far.
export async function openPage(server, hash = '#/', { width = 1280, scheme = 'light', expects } = {}) {
  const context = await browser.newContext({ viewport: { width, height: 800 }, colorScheme: scheme });
  context.setDefaultTimeout(HANGS_MS);
  const page = await context.newPage();
  page.mistakes = [];
  page.on('pageerror', (error) => page.mistakes.push(`error: ${error.message}`));
  page.on('dialog', (dialog) => {
    page.mistakes.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on('console', (message) => {
    if (message.type() === 'error' && !(expects?.test(message.text()))) page.mistakes.push(message.text());
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(server.url)) page.mistakes.push(`asked ${request.url()}`);
  });
  await page.goto(`${server.url}/${hash}`);
  page.end = async () => {
    await context.close();
    assert.deepEqual(page.mistakes, []);
  };
  page.go = async (to) => {
    await page.evaluate((next) => { location.hash = next; }, to);
  };
  return page;
}

// Waits until a function in the page, called with the argument, gives something true.
export async function until(page, condition, argument) {
  return (await page.waitForFunction(condition, argument, { timeout: HANGS_MS })).jsonValue();
}

export const texts = (page, selector) =>
  page.$$eval(selector, (nodes) => nodes.map((node) => node.textContent.trim()));

// Waits until the texts of what the selector finds are these.
export async function shows(page, selector, wanted) {
  const end = Date.now() + HANGS_MS;
  for (;;) {
    const found = await texts(page, selector);
    if (JSON.stringify(found) === JSON.stringify(wanted)) return;
    if (Date.now() > end) assert.deepEqual(found, wanted, selector);
    await page.evaluate(() => new Promise((drawn) => { requestAnimationFrame(drawn); }));
  }
}
