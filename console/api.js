// Asking the server: who asks, what it refuses, and whether it is there at all.

const KEY = 'stele-authorization';
const banner = document.getElementById('banner');
let authorization = sessionStorage.getItem(KEY); // For this tab, until it is closed.
let downSince;
let onBack = () => {};

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}
export class Unreachable extends Error {}

export function whenBack(callback) {
  onBack = callback;
}

async function look() {
  try {
    if ((await fetch('/health/live')).ok) {
      downSince = undefined;
      banner.hidden = true;
      onBack();
      return;
    }
  } catch { /* Still away. */ }
  setTimeout(look, 1000);
}

function away() {
  if (downSince !== undefined) return;
  downSince = new Date();
  banner.textContent = 'The server does not answer since ' +
    `${downSince.toISOString().slice(11, 19)} UTC. What you see is from before. Trying again…`;
  banner.hidden = false;
  setTimeout(look, 1000);
}

// x-requested-with: the server does not make the browser ask for a password; this page does.
function headers(more) {
  return {
    'x-requested-with': 'console',
    ...(authorization ? { authorization } : {}),
    ...more,
  };
}

// What came instead of an answer. JSON has its words in "message".
async function refusal(response) {
  const text = await response.text();
  let words = text || response.statusText;
  try { words = JSON.parse(text).message ?? words; } catch { /* No JSON: the text itself. */ }
  return new Refused(response.status, words);
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    away();
    throw new Unreachable('The server does not answer.');
  }
}

// Numbers that JavaScript would round keep their digits: what is shown is what is stored.
class Digits {
  constructor(text) { this.text = text; }
}
export const isDigits = (value) => value instanceof Digits;
const keepDigits = (key, value, context) =>
  typeof value === 'number' && context?.source !== undefined && String(value) !== context.source
    ? new Digits(context.source) : value;
export const parse = (text) => JSON.parse(text, keepDigits);

// exact: as parse() does it, for what others have stored.
export async function ask(path, { method = 'GET', body, signal, exact = false } = {}) {
  const response = await reach(path, {
    method, signal,
    headers: headers(body === undefined ? { accept: 'application/json' }
      : { accept: 'application/json', 'content-type': 'application/json' }),
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (!response.ok) throw await refusal(response);
  const text = await response.text();
  return exact ? parse(text) : JSON.parse(text);
}

// Server-sent events by fetch: EventSource can send no authorization. on.event(name, data),
// on.state('live' | 'connecting'), on.refused(error). Returns what ends it.
export function follow(path, on) {
  const control = new AbortController();
  let last;
  let timer;
  const take = (block) => {
    let name = 'message';
    const data = [];
    for (const line of block.split('\n')) {
      if (line.startsWith('id: ')) last = line.slice(4);
      else if (line.startsWith('event: ')) name = line.slice(7);
      else if (line.startsWith('data: ')) data.push(line.slice(6));
    }
    if (data.length > 0) on.event(name, data.join('\n'));
  };
  const read = async (response, alive) => {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      alive();
      const blocks = (rest + value).split('\n\n');
      rest = blocks.pop();
      blocks.forEach(take);
    }
  };
  const run = async () => {
    const once = new AbortController();
    control.signal.addEventListener('abort', () => once.abort(), { signal: once.signal });
    // The server says something every 15 seconds. Silence is a connection that nobody ended.
    let silence;
    const alive = () => {
      clearTimeout(silence);
      silence = setTimeout(() => once.abort(), 40000);
    };
    try {
      on.state('connecting');
      alive();
      const response = await reach(path, {
        signal: once.signal,
        headers: headers({ accept: 'text/event-stream', ...(last ? { 'last-event-id': last } : {}) }),
      });
      if (!response.ok) {
        on.refused(await refusal(response));
        return;
      }
      on.state('live');
      await read(response, alive);
    } catch { /* Told by the banner, or ended by us. */ } finally {
      clearTimeout(silence);
    }
    if (control.signal.aborted) return;
    on.state('connecting');
    timer = setTimeout(run, 1000);
  };
  run();
  return () => {
    control.abort();
    clearTimeout(timer);
  };
}

export async function signIn(login, password) {
  const bytes = new TextEncoder().encode(`${login}:${password}`);
  const wanted = `Basic ${btoa(String.fromCharCode(...bytes))}`;
  const before = authorization;
  authorization = wanted;
  try {
    const me = await ask('/api/me');
    sessionStorage.setItem(KEY, wanted);
    return me;
  } catch (error) {
    authorization = before;
    throw error;
  }
}

export function signOut() {
  authorization = null;
  sessionStorage.removeItem(KEY);
}
