// The console: views of what /api, /stats and /health tell. No framework, no network but this server.

const main = document.getElementById('main');
let leave = () => {};
let pager = {};

// ---- Small helpers -------------------------------------------------------------------------

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== false) node.setAttribute(key, value === true ? '' : value);
  }
  for (const child of children.flat()) {
    if (child !== undefined && child !== null) node.append(child);
  }
  return node;
}

function show(...nodes) {
  main.replaceChildren(...nodes.flat().filter(Boolean));
}

async function ask(path) {
  const response = await fetch(path, { headers: { accept: 'application/json' } });
  const text = await response.text();
  let body;
  try { body = JSON.parse(text); } catch { body = { message: text || response.statusText }; }
  if (!response.ok) throw new Error(`${response.status}: ${body.message ?? body.error}`);
  return body;
}

function fail(error) {
  show(element('p', { class: 'error', role: 'alert' }, error.message));
}

const number = (value) => Number(value).toLocaleString('en');
function size(bytes) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  while (bytes >= 1024 && at < units.length - 1) { bytes /= 1024; at++; }
  return `${at === 0 ? bytes : bytes.toFixed(1)} ${units[at]}`;
}

function query(values) {
  const pairs = Object.entries(values).filter(([, value]) => value !== '' && value !== undefined);
  return pairs.length === 0 ? '' : `?${new URLSearchParams(pairs)}`;
}

const streamPath = (name) => encodeURIComponent(name);
const streamLink = (name) => element('a', { href: `#/stream/${streamPath(name)}` }, name);

// ---- Events --------------------------------------------------------------------------------

function body(event) {
  const parts = [];
  const add = (title, value) => {
    if (value === undefined) return;
    const text = typeof value === 'string' ? value : JSON.stringify(value, null, 2);
    parts.push(element('div', { class: 'quiet' }, title), element('pre', {}, text));
  };
  add('data', event.data ?? event.data_base64);
  add('metadata', event.metadata ?? event.metadata_base64);
  add('tags', event.tags);
  parts.push(element('div', { class: 'quiet' }, `id ${event.id} · position ${event.position}`));
  return parts;
}

function eventRow(event, withStream) {
  return element('tr', {},
    element('td', { class: 'number' }, number(event.revision)),
    withStream ? element('td', {}, streamLink(event.stream)) : undefined,
    element('td', {}, element('details', {}, element('summary', {}, event.type), ...body(event))),
    element('td', { class: 'quiet' }, String(event.created).replace('T', ' ').replace('Z', '')));
}

function eventTable(events, withStream) {
  const head = ['Revision', withStream ? 'Stream' : undefined, 'Type', 'Created (UTC)'];
  return element('table', {},
    element('thead', {}, element('tr', {}, head.filter(Boolean).map((title, index) =>
      element('th', { scope: 'col', class: index === 0 ? 'number' : undefined }, title)))),
    element('tbody', {}, events.map((event) => eventRow(event, withStream))));
}

function field(label, name, value, placeholder) {
  return element('label', {}, label, element('input', { name, value, placeholder, autocomplete: 'off' }));
}

// A page of a stream or of all events, newest first. state: from, as_of, type, prefix.
async function eventsView(title, path, withStream, state = {}, trail = []) {
  const limit = 50;
  const page = await ask(path + query({ ...state, backwards: 1, limit }));
  const go = (next, way) => eventsView(title, path, withStream, next, way).catch(fail);
  const form = element('form', {
    class: 'bar', role: 'search',
    onsubmit: (submit) => {
      submit.preventDefault();
      go(Object.fromEntries(new FormData(submit.target)), []);
    },
  },
  withStream ? field('Stream begins with', 'prefix', state.prefix ?? '') : undefined,
  field('Type', 'type', state.type ?? ''),
  field('As of', 'as_of', state.as_of ?? '', '2026-11-20T15:00:00Z'),
  element('button', {}, 'Show'));
  pager = {
    n: () => page.next && go({ ...state, from: page.next.from }, [...trail, state]),
    p: () => trail.length > 0 && go(trail.at(-1), trail.slice(0, -1)),
  };
  show(element('h1', {}, title), form,
    page.events.length > 0 ? eventTable(page.events, withStream)
      : element('p', { class: 'quiet' }, 'No events.'),
    element('div', { class: 'pages' },
      element('button', { disabled: trail.length === 0, onclick: pager.p }, 'Newer'),
      element('button', { disabled: !page.next, onclick: pager.n }, 'Older')));
}

// ---- Views ---------------------------------------------------------------------------------

function chart(values) {
  const top = Math.max(1, ...values);
  const points = values.map((value, index) =>
    `${(index / Math.max(1, values.length - 1)) * 100},${46 - (value / top) * 44}`);
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 100 48');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('aria-hidden', 'true');
  const line = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  line.setAttribute('d', points.length > 0 ? `M${points.join('L')}` : '');
  svg.append(line);
  return svg;
}

function card(title, value, series) {
  return element('div', { class: 'card' }, element('span', { class: 'quiet' }, title),
    element('b', {}, value), series ? chart(series) : undefined);
}

async function overview() {
  const rates = [], delays = [], cpu = [], sizes = [];
  let last;
  const push = (list, value) => { list.push(value); if (list.length > 90) list.shift(); };
  const tick = async () => {
    const begin = performance.now();
    const stats = await ask('/stats');
    push(delays, performance.now() - begin);
    const now = performance.now() / 1000;
    if (last) {
      const seconds = now - last.now;
      push(rates, (stats.events - last.stats.events) / seconds);
      push(cpu, (100 * (stats.cpu_seconds - last.stats.cpu_seconds)) / seconds);
    }
    push(sizes, stats.disk_size);
    last = { stats, now };
    if (location.hash.replace('#/', '') !== '') return;
    show(element('h1', {}, 'Overview'),
      stats.fenced ? element('p', { class: 'error', role: 'alert' },
        'A write failed: the store takes no appends until it is opened again.') : undefined,
      stats.damage > 0 ? element('p', { class: 'error', role: 'alert' },
        `${stats.damage} damaged places were found: run stele verify.`) : undefined,
      element('div', { class: 'cards' },
        card('Appended a second', (rates.at(-1) ?? 0).toFixed(0), rates),
        card('This page’s round trip', `${delays.at(-1).toFixed(1)} ms`, delays),
        card('CPU', `${(cpu.at(-1) ?? 0).toFixed(1)} %`, cpu),
        card('Size on disk', size(stats.disk_size), sizes),
        card('Events', number(stats.events)),
        card('Streams', number(stats.streams)),
        card('Index behind', size(stats.index_behind)),
        card('Memory of the store', size(stats.memory)),
        card('Live tails', number(stats.http_tails)),
        card('Up', `${number(Math.floor(stats.uptime_seconds))} s`)),
      element('p', { class: 'quiet' }, `Store ${stats.store}, position ${stats.position}.`));
  };
  await tick();
  const timer = setInterval(() => tick().catch(fail), 1000);
  leave = () => clearInterval(timer);
}

async function streams(prefix = '', trail = ['']) {
  const names = await ask(`/api/streams${query({ prefix, after: trail.at(-1), limit: 100 })}`);
  const go = (next, way) => streams(next, way).catch(fail);
  const input = element('input', {
    name: 'prefix', value: prefix, autocomplete: 'off', id: 'search',
    oninput: (change) => go(change.target.value, ['']).then(() => {
      const again = document.getElementById('search');
      again.focus();
      again.setSelectionRange(again.value.length, again.value.length);
    }),
  });
  pager = {
    n: () => names.length === 100 && go(prefix, [...trail, names.at(-1).name]),
    p: () => trail.length > 1 && go(prefix, trail.slice(0, -1)),
  };
  show(element('h1', {}, 'Streams'),
    element('form', { class: 'bar', role: 'search', onsubmit: (submit) => submit.preventDefault() },
      element('label', {}, 'Name begins with', input)),
    element('table', {},
      element('thead', {}, element('tr', {}, element('th', { scope: 'col' }, 'Stream'),
        element('th', { scope: 'col', class: 'number' }, 'Events'))),
      element('tbody', {}, names.map((one) => element('tr', {}, element('td', {}, streamLink(one.name)),
        element('td', { class: 'number' }, number(one.count)))))),
    element('div', { class: 'pages' },
      element('button', { disabled: trail.length === 1, onclick: pager.p }, 'Previous'),
      element('button', { disabled: names.length < 100, onclick: pager.n }, 'Next')));
}

function tail() {
  const rows = element('tbody');
  const state = element('span', { class: 'quiet', role: 'status' }, 'connecting…');
  let paused = false;
  const source = new EventSource('/api/tail');
  source.onopen = () => { state.textContent = 'live'; state.className = 'good'; };
  source.onerror = () => { state.textContent = 'reconnecting…'; state.className = 'quiet'; };
  source.onmessage = (message) => {
    if (paused) return;
    rows.prepend(eventRow(JSON.parse(message.data), true));
    while (rows.children.length > 200) rows.lastChild.remove();
  };
  leave = () => source.close();
  show(element('h1', {}, 'Live ', state),
    element('form', { class: 'bar', onsubmit: (submit) => submit.preventDefault() },
      element('button', {
        onclick: (click) => {
          paused = !paused;
          click.target.textContent = paused ? 'Go on' : 'Pause';
        },
      }, 'Pause')),
    element('table', {},
      element('thead', {}, element('tr', {}, ['Revision', 'Stream', 'Type', 'Created (UTC)'].map((title) =>
        element('th', { scope: 'col' }, title)))), rows));
}

function listView(title, path, columns, empty) {
  return async () => {
    const rows = await ask(path);
    show(element('h1', {}, title), rows.length === 0 ? element('p', { class: 'quiet' }, empty)
      : element('table', {},
        element('thead', {}, element('tr', {}, columns.map(([label]) =>
          element('th', { scope: 'col' }, label)))),
        element('tbody', {}, rows.map((row) => element('tr', {}, columns.map(([, read]) =>
          element('td', {}, String(read(row) ?? ''))))))));
  };
}

const groups = listView('Groups', '/api/groups', [
  ['Stream', (row) => row.stream], ['Group', (row) => row.group], ['Status', (row) => row.status],
  ['Waiting', (row) => row.waiting], ['In flight', (row) => row.in_flight],
  ['Parked', (row) => row.parked], ['Consumers', (row) => row.consumers],
], 'No persistent subscriptions.');

const users = listView('Users', '/api/users', [
  ['Login', (row) => row.login], ['Name', (row) => row.full_name],
  ['Groups', (row) => row.groups.join(', ')], ['State', (row) => (row.disabled ? 'disabled' : 'active')],
], 'No users.');

// ---- Routing and keys ----------------------------------------------------------------------

async function route() {
  leave();
  leave = () => {};
  pager = {};
  const path = location.hash.replace(/^#\/?/, '');
  for (const link of document.querySelectorAll('nav a')) {
    const target = link.getAttribute('href').replace('#/', '');
    const here = target === path || (target === 'streams' && path.startsWith('stream/'));
    if (here) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  try {
    if (path === '') await overview();
    else if (path === 'streams') await streams();
    else if (path === 'all') await eventsView('Events', '/api/all', true);
    else if (path === 'tail') tail();
    else if (path === 'groups') await groups();
    else if (path === 'users') await users();
    else if (path.startsWith('stream/')) {
      const name = decodeURIComponent(path.slice('stream/'.length));
      await eventsView(name, `/api/streams/${streamPath(name)}`, false);
    } else show(element('p', {}, 'There is no such view.'));
  } catch (error) {
    fail(error);
  }
}

addEventListener('hashchange', route);
addEventListener('keydown', (press) => {
  if (press.target.matches('input, textarea') || press.ctrlKey || press.metaKey || press.altKey) return;
  const link = document.querySelector(`nav a[data-key="${CSS.escape(press.key)}"]`);
  if (link) location.hash = link.getAttribute('href');
  else if (press.key === '/') {
    const input = main.querySelector('input');
    if (input) { press.preventDefault(); input.focus(); }
  } else if (pager[press.key]) pager[press.key]();
});
ask('/api/me').then((me) => {
  document.getElementById('who').textContent = me.insecure ? 'insecure' : me.anonymous ? '' : me.name;
}).catch(() => {});
route();
