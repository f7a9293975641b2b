// The console, as an operator uses it: every view in Debian's Chromium, against real servers.
//
// Method: two servers, one without users and one with. What the views show is compared with what was
// appended. Every page fails its test on any error, dialog, violation of the content security policy,
// or request that goes anywhere but to its server.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createGroup, consume } from './grpc.mjs';
import { Server, HANGS_MS, openBrowser, closeBrowser, openPage, until, shows, texts } from './lib.mjs';

const ADMIN = { STELE_ADMIN_PASSWORD: 'correct horse', STELE_OPS_PASSWORD: 'battery staple' };
const basic = (login, password) => `Basic ${Buffer.from(`${login}:${password}`).toString('base64')}`;
const VIEWS = ['#/', '#/streams', '#/categories', '#/types', '#/events', '#/stream/order-1', '#/live', '#/groups', '#/users'];
const range = (from, to) => Array.from({ length: Math.abs(from - to) + 1 }, (_, at) =>
  String(from < to ? from + at : from - at));

// One without users, one with them. Not in hooks: those of a whole file are younger than Debian's Node.js.
const [open, guarded] = await Promise.all([new Server('open', '--insecure').start(),
  new Server('guarded', '--password-memory', '64KiB').start(ADMIN), openBrowser()]);
const many = (from) => Array.from({ length: 60 }, (_, n) => ({ type: n % 2 ? 'Odd' : 'Even', data: { n: n + from } }));
await open.append('many', many(0));
const middle = (await open.ask('/api/streams/many?backwards=1&limit=1')).events[0].position; // Of event 59.
await open.append('many', many(60));
await open.append('order-1', '{"type":"OrderPlaced","data":{"total":12345678901234567890,"price":1.10,' +
  '"list":[1,2],"none":null},"metadata":{"by":"ada"},"tags":["customer:ada"]}');
for (let n = 0; n < 10; n++) await open.append('order-2', { type: 'OrderPaid', data: { n } });
await Promise.all(Array.from({ length: 105 }, (_, n) =>
  open.append(`name-${String(n).padStart(3, '0')}`, { type: 'Named', data: n })));

const fact = (page, name) => page.textContent(`.facts div:has(dt:text-is("${name}")) dd`);
const revisions = (page) => texts(page, 'tr.event td.number');

test('the overview shows what the server counts, and charts that move', async () => {
  const page = await openPage(open);
  await page.waitForSelector('.facts dd');
  const stats = await open.ask('/stats');
  assert.equal(await fact(page, 'Events'), stats.events.toLocaleString('en'));
  assert.equal(await fact(page, 'Streams'), stats.streams.toLocaleString('en'));
  assert.match(await page.textContent('.state'), new RegExp(`Takes appends .* store ${stats.store}`));
  assert.equal((await page.$$('section.card svg')).length, 6);
  const big = (title) => `section.card[aria-label="${title}"] b`;
  let going = true;
  const load = (async () => {
    while (going) await open.append('load', { type: 'Loaded', data: {} });
  })();
  await until(page, (where) => /^[1-9][\d,.]*\/s$/.test(document.querySelector(where).textContent), big('Written'));
  await until(page, (where) => /^[\d.]+ (µs|ms|s) \/ [\d.]+ (µs|ms|s)$/.test(document.querySelector(where).textContent),
    big('Appends take'));
  going = false;
  await load;
  await until(page, (where) => document.querySelector(where).textContent === '0/s', big('Written'));
  assert.match(await page.textContent(big('Size on disk')), /^[\d.]+ [KM]iB$/);
  assert.match(await page.textContent(big('Processor')), /^[\d.]+ %$/);
  assert.match(await page.getAttribute('section.card[aria-label="Written"] svg', 'aria-label'),
    /^Written: now 0\/s; at most [1-9]/);
  const line = await page.getAttribute('section.card[aria-label="Written"] path.line', 'd');
  assert.doesNotMatch(line, /NaN/);
  assert.ok(line.split(/[ML]/).length > 3);
  const plot = 'section.card[aria-label="Written"] .plot';
  const width = (await (await page.$(plot)).boundingBox()).width;
  await page.hover(plot, { position: { x: width - 2, y: 20 } });
  assert.match(await page.textContent(`${plot} .readout`), /^[01] s ago: [\d,.]+\/s$/);
  await page.end();
});

test('streams, categories and types are found by the beginning of their names', async () => {
  const page = await openPage(open, '#/streams');
  const names = 'table.names tbody td:first-child';
  await page.fill('[name=prefix]', 'order-');
  await shows(page, names, ['order-1', 'order-2']);
  await shows(page, 'table.names td.number', ['1', '10']);
  assert.match(page.url(), /#\/streams\?prefix=order-$/);
  await page.fill('[name=prefix]', 'name-');
  await shows(page, names, range(0, 99).map((n) => `name-${n.padStart(3, '0')}`));
  await page.click('text=Next');
  await shows(page, names, range(100, 104).map((n) => `name-${n}`));
  assert.ok(await page.isDisabled('text=Next'));
  await page.click('text=Previous');
  await shows(page, 'table.names tbody tr:first-child td:first-child', ['name-000']);
  await page.fill('[name=prefix]', 'nobody');
  await until(page, () => document.querySelector('main').textContent.includes('None begins with “nobody”'));
  await page.fill('[name=prefix]', 'order-');
  await shows(page, names, ['order-1', 'order-2']);
  await page.press('[name=prefix]', 'Enter');
  await shows(page, 'h1', ['order-1']);
  await page.go('#/categories?prefix=ord');
  await shows(page, names, ['order']);
  await page.click('text=order');
  await shows(page, 'h1', ['$ce-order']);
  assert.equal((await revisions(page)).length, 11);
  await page.go('#/types');
  await page.click('table.names >> text=OrderPaid');
  await shows(page, 'h1', ['$et-OrderPaid']);
  assert.equal((await revisions(page)).length, 10);
  await page.end();
});

test('every page of a stream has an address, forth and back', async () => {
  const page = await openPage(open, '#/stream/many');
  await shows(page, 'tr.event td.number', range(119, 70));
  await page.click('text=Older');
  await shows(page, 'tr.event td.number', range(69, 20));
  const second = page.url();
  await page.click('text=Older');
  await shows(page, 'tr.event td.number', range(19, 0));
  assert.ok(await page.isDisabled('text=Older'));
  await page.click('button:text-is("Newer")');
  await shows(page, 'tr.event td.number', range(69, 20));
  await page.click('button:text-is("Newer")');
  await shows(page, 'tr.event td.number', range(119, 70));
  await page.goto(second);
  await page.reload();
  await shows(page, 'tr.event td.number', range(69, 20));
  await page.click('button:text-is("Newest")');
  await shows(page, 'tr.event td.number', range(119, 70));
  await page.goBack();
  await shows(page, 'tr.event td.number', range(69, 20));
  await page.end();
});

test('as of a position or a time the stream is what it was then', async () => {
  const page = await openPage(open, '#/stream/many');
  await page.fill('[name=as_of]', middle);
  await page.click('text=Show');
  await shows(page, 'tr.event td.number', range(59, 10));
  await page.fill('[name=as_of]', '2026-01-01T00:00:00Z');
  await page.click('text=Show');
  await until(page, () => /There is nothing|No events/.test(document.querySelector('main').textContent));
  await page.click('text=Clear');
  await shows(page, 'tr.event td.number', range(119, 70));
  await page.fill('[name=type]', 'Odd');
  await page.click('text=Show');
  await shows(page, 'tr.event td.number', range(119, 20).filter((n) => n % 2));
  await page.end();
  // What is no time is told, and can be corrected in place.
  const wrong = await openPage(open, '#/stream/many', { expects: /400/ });
  await wrong.fill('[name=as_of]', 'yesterday');
  await wrong.click('text=Show');
  await wrong.waitForSelector('.problem');
  assert.match(await wrong.textContent('.problem'), /as_of/);
  assert.equal(await wrong.inputValue('[name=as_of]'), 'yesterday');
  await wrong.end();
});

test('an event opens: its JSON is indented, its numbers are those that were stored', async () => {
  const page = await openPage(open, '#/stream/order-1');
  await page.click('button.opener');
  assert.equal(await page.textContent('pre[aria-label=Data]'),
    '{\n  "total": 12345678901234567890,\n  "price": 1.10,\n  "list": [\n    1,\n    2\n  ],\n  "none": null\n}');
  assert.equal(await page.textContent('pre[aria-label=Metadata]'), '{\n  "by": "ada"\n}');
  const event = (await open.ask('/api/streams/order-1')).events[0];
  const details = await page.textContent('.details dl');
  for (const part of [event.id, event.position, 'customer:ada']) assert.ok(details.includes(part), part);
  assert.equal(await page.getAttribute('button.opener', 'aria-expanded'), 'true');
  await page.click('button.opener');
  assert.equal(await page.isVisible('.details'), false);
  await page.click('summary');
  await until(page, () => document.querySelector('details.meta').textContent.includes('{}') ||
    document.querySelector('details.meta').textContent.includes('none'));
  page.mistakes = page.mistakes.filter((mistake) => !/404/.test(mistake));
  await page.end();
});

test('live events come by themselves, wait while it is paused, and can be narrowed', async () => {
  const page = await openPage(open, '#/live?prefix=live-');
  await page.waitForSelector('.livestate .good');
  await open.append('other', { type: 'Other' });
  await open.append('live-1', { type: 'First', data: { n: 1 } });
  await shows(page, 'tr.event td.type', ['First']);
  await page.keyboard.press('s');
  await open.append('live-1', [{ type: 'Second' }, { type: 'Third' }]);
  await until(page, () => document.querySelector('.heading').textContent.includes('3 events · 2 wait'));
  await shows(page, 'tr.event td.type', ['First']);
  await page.keyboard.press('s');
  await shows(page, 'tr.event td.type', ['Third', 'Second', 'First']);
  await page.go('#/live?stream=live-2');
  await page.waitForSelector('.livestate .good');
  await open.append('live-1', { type: 'Elsewhere' });
  await open.append('live-2', { type: 'Here' });
  await shows(page, 'tr.event td.type', ['Here']);
  await page.end();
});

test('groups show who is behind and what is parked, which can be looked at and replayed', async () => {
  await createGroup(open.url, 'order-2', 'invoices');
  const stop = await consume(open.url, 'order-2', 'invoices', 10, (type, n) => (n < 2 ? 'park' : 'ack'));
  const page = await openPage(open, '#/groups');
  const row = (name) => `table.groups tr:has-text("invoices") td[data-label="${name}"]`;
  await shows(page, row('Parked'), ['2']);
  await shows(page, row('Behind'), ['0']);
  await shows(page, row('Consumers'), ['1']);
  await page.click(`${row('Parked')} a`);
  await shows(page, 'h1', ['$persistentsubscription-order-2::invoices-parked']);
  await shows(page, 'td.preview', ['1@order-2', '0@order-2']);
  await page.click('button.opener >> nth=0');
  await page.click('text=event 1 of order-2');
  await shows(page, 'tr.event td.number', ['1', '0']);
  stop();
  await page.go('#/groups');
  await shows(page, row('Consumers'), ['none']);
  await page.click('td.do button');
  assert.match(await page.textContent('dialog'), /2 events of order-2/);
  await page.click('dialog button[type=submit]');
  await shows(page, row('Parked'), ['0']);
  await shows(page, row('Behind'), ['2']);
  assert.deepEqual(await texts(page, 'td.do button'), []);
  const again = await consume(open.url, 'order-2', 'invoices', 2, () => 'ack');
  await shows(page, row('Behind'), ['0']);
  again();
  await page.go('#/users');
  await until(page, () => document.querySelector('main').textContent.includes('--insecure'));
  await page.end();
});

async function signIn(page, login, password) {
  await page.fill('[name=login]', login);
  await page.fill('[name=password]', password);
  await page.press('[name=password]', 'Enter');
}

test('a server with users asks who one is, in the page and not in a box of the browser', async () => {
  const bare = await fetch(`${guarded.url}/stats`);
  assert.equal(bare.status, 401);
  assert.match(bare.headers.get('www-authenticate'), /^Basic/);
  const asked = await fetch(`${guarded.url}/stats`, { headers: { 'x-requested-with': 'console' } });
  assert.equal(asked.status, 401);
  assert.equal(asked.headers.get('www-authenticate'), null);

  const page = await openPage(guarded, '#/streams', { expects: /401/ });
  await page.waitForSelector('.signin');
  await signIn(page, 'admin', 'wrong');
  await shows(page, '.problem', ['wrong user or password']);
  await signIn(page, 'admin', ADMIN.STELE_ADMIN_PASSWORD);
  await page.waitForSelector('table.names');
  assert.match(await page.textContent('#who'), /admin/);
  await page.go('#/live');
  await page.waitForSelector('.livestate .good');
  await guarded.append('secret', { type: 'Seen' }, { authorization: basic('admin', ADMIN.STELE_ADMIN_PASSWORD) });
  await shows(page, 'tr.event td.type', ['Seen']);
  await page.reload();
  await page.waitForSelector('.livestate .good');
  assert.match(await page.textContent('#who'), /admin/);
  await page.click('text=Sign out');
  await page.waitForSelector('.signin');
  await page.reload();
  await page.waitForSelector('.signin');
  await page.end();
});

test('users are made, edited, disabled and deleted', async () => {
  const page = await openPage(guarded, '#/users', { expects: /40[19]/ });
  await page.waitForSelector('.signin');
  await signIn(page, 'admin', ADMIN.STELE_ADMIN_PASSWORD);
  const row = 'table.users tr:has-text("ada")';
  const dialog = async (values) => {
    for (const [name, value] of Object.entries(values)) await page.fill(`dialog [name=${name}]`, value);
    await page.click('dialog button[type=submit]');
  };
  await page.click('text=New user');
  await dialog({ login: 'ada', full_name: 'Ada Lovelace', groups: '$ops, engine', password: 'difference' });
  await shows(page, `${row} td:not(.do)`, ['ada', 'Ada Lovelace', '$ops, engine', 'active']);
  await page.click('text=New user');
  await dialog({ login: 'ada', password: 'difference' });
  await page.waitForSelector('dialog .problem');
  await page.keyboard.press('Escape');
  await page.click(`${row} >> text=Edit`);
  await dialog({ full_name: 'Ada King', groups: 'engine' });
  await shows(page, `${row} td:not(.do)`, ['ada', 'Ada King', 'engine', 'active']);
  await page.click(`${row} >> text=Password`);
  await dialog({ password: 'analytical engine' });
  await page.waitForSelector('dialog', { state: 'detached' });
  const may = async (password) => (await fetch(`${guarded.url}/api/me`,
    { headers: { authorization: basic('ada', password) } })).status;
  assert.equal(await may('analytical engine'), 200);
  await page.click(`${row} >> text=Disable`);
  await dialog({});
  await shows(page, `${row} td[data-label=State]`, ['disabled']);
  assert.equal(await may('analytical engine'), 401);
  await page.click(`${row} >> text=Delete`);
  await dialog({});
  await shows(page, 'table.users td[data-label=Login]', ['admin', 'ops']);
  await page.end();
});

test('everything can be done with the keyboard, and one sees where one is', async () => {
  const page = await openPage(open);
  const press = (key) => page.keyboard.press(key);
  const titles = { 2: 'Streams', 3: 'Events', 4: 'Live', 5: 'Groups', 6: 'Users', 1: 'Overview' };
  for (const [key, title] of Object.entries(titles)) {
    await press(key);
    await shows(page, 'h1', [title]);
    await shows(page, 'header nav [aria-current=page]', [title]);
    assert.equal(await page.title(), `${title} · Stele`);
  }
  await press('2');
  await page.waitForSelector('[name=prefix]');
  await press('/');
  await page.keyboard.type('many?1');
  assert.equal(await page.inputValue('[name=prefix]'), 'many?1');
  await press('Escape');
  await press('?');
  await page.waitForSelector('dialog kbd');
  await press('Escape');
  await page.waitForSelector('dialog', { state: 'detached' });
  await page.go('#/stream/many');
  await shows(page, 'tr.event td.number', range(119, 70));
  await press('j');
  await press('j');
  await press('k');
  await press('j');
  await press('Enter');
  await shows(page, '.details div:has(dt:text-is("Revision")) dd', ['118']);
  const ring = await page.evaluate(() => {
    const style = getComputedStyle(document.activeElement);
    return [document.activeElement.className, style.outlineStyle, style.outlineWidth];
  });
  assert.deepEqual(ring, ['opener', 'solid', '2px']);
  await press('n');
  await shows(page, 'tr.event td.number', range(69, 20));
  await press('p');
  await shows(page, 'tr.event td.number', range(119, 70));
  await press('n');
  await shows(page, 'tr.event td.number', range(69, 20));
  await press('g');
  await shows(page, 'tr.event td.number', range(119, 70));
  await page.reload();
  await page.waitForSelector('tr.event');
  await press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to content');
  await press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
  await page.end();
});

// In the page: texts whose colour is too near to what is behind them (WCAG 2.1, 1.4.3).
const pale = () => {
  const parse = (text) => {
    const found = text.match(/[\d.]+/g).map(Number);
    return text.startsWith('color(') ? [found[0] * 255, found[1] * 255, found[2] * 255, found[3] ?? 1] : found;
  };
  const light = (rgb) => rgb.slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((all, c, at) => all + c * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, [r, g, b, a = 1]) =>
      below.map((c, at) => c * (1 - a) + [r, g, b][at] * a), [255, 255, 255]);
  };
  const found = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim() !== '');
    if (!own || node.disabled || !node.checkVisibility() || node.closest('noscript, svg')) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(`${node.tagName}.${node.className} "${node.textContent.slice(0, 20)}": ${ratio.toFixed(2)}`);
  }
  return found;
};

// In the page: what somebody who does not see it would miss.
const nameless = () => {
  const found = [];
  if (document.querySelectorAll('h1').length !== 1) found.push('not one h1');
  for (const node of document.querySelectorAll('button, a, [role=img], dialog, nav, table')) {
    if (!(node.getAttribute('aria-label') || node.textContent.trim())) found.push(node.outerHTML.slice(0, 80));
  }
  for (const node of document.querySelectorAll('input')) if (node.labels.length === 0) found.push(node.outerHTML);
  for (const node of document.querySelectorAll('img')) if (!node.hasAttribute('alt')) found.push(node.outerHTML);
  for (const node of document.querySelectorAll('th')) if (!node.hasAttribute('scope')) found.push(node.outerHTML);
  const ids = [...document.querySelectorAll('[id]')].map((node) => node.id);
  if (new Set(ids).size !== ids.length) found.push('an id twice');
  return found;
};

for (const [scheme, width] of [['dark', 1280], ['light', 390], ['light', 1280], ['dark', 390]]) {
  test(`${scheme}, ${width} pixels wide: nothing is cut off, pale or nameless`, async () => {
    const page = await openPage(open, '#/', { scheme, width });
    for (const view of VIEWS) {
      await page.go(view);
      await page.waitForSelector('h1');
      await page.waitForFunction((hash) => {
        const path = hash.slice(2).split('/')[0];
        const wanted = { stream: 'tr.event', streams: 'td a', events: 'tr.event', '': '.facts dd', live: '.dot.good',
          groups: 'td', categories: 'td a', types: 'td a', users: 'p' }[path];
        return document.querySelector(`main ${wanted}`);
      }, view, { timeout: HANGS_MS });
      if (view.startsWith('#/stream/')) await page.click('button.opener');
      assert.deepEqual(await page.evaluate(pale), [], `${view}: pale`);
      assert.deepEqual(await page.evaluate(nameless), [], `${view}: nameless`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${view}: ${wide} pixels too wide`);
    }
    await page.end();
  });
}

test('dark and light follow the system until one chooses, which is kept', async () => {
  const page = await openPage(open, '#/streams');
  const back = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const light = await back();
  await page.emulateMedia({ colorScheme: 'dark' });
  const dark = await back();
  assert.notEqual(light, dark);
  await page.keyboard.press('t'); // auto, light
  assert.equal(await back(), light);
  await page.reload();
  assert.equal(await back(), light);
  await page.click('#theme');     // light, dark
  await page.emulateMedia({ colorScheme: 'light' });
  assert.equal(await back(), dark);
  await page.end();
});

test('what others have stored is shown and never run', async () => {
  const csp = (await fetch(open.url)).headers.get('content-security-policy');
  for (const rule of ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'",
    "require-trusted-types-for 'script'"]) assert.ok(csp.includes(rule), rule);
  const bad = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>"\'`javascript:pwned=1';
  const stream = `xss-${bad}`;
  await open.append(stream, { type: bad, data: { [bad]: bad }, metadata: { [bad]: bad }, tags: [bad] });
  await open.append(stream, { type: bad, data: bad });
  await createGroup(open.url, stream, bad);
  const authorization = basic('admin', ADMIN.STELE_ADMIN_PASSWORD);
  await guarded.ask('/api/users', { method: 'POST', headers: { authorization, 'content-type': 'application/json' },
    body: JSON.stringify({ login: 'mallory', full_name: bad, groups: ['<b>x</b>'], password: 'long enough' }) });

  const page = await openPage(open, `#/live?prefix=${encodeURIComponent('xss-')}`, { expects: /404/ });
  await page.waitForSelector('.livestate .good');
  await open.append(stream, { type: bad, data: [bad] });
  await shows(page, 'tr.event td.type', [bad]);
  await page.click('button.opener');
  await page.go('#/streams?prefix=xss');
  await shows(page, 'td a', [stream]);
  await page.click('td a');
  await shows(page, 'h1', [stream]);
  await page.waitForSelector('button.opener');
  for (const opener of await page.$$('button.opener')) await opener.click();
  assert.ok((await texts(page, 'pre[aria-label=Data]')).some((text) => text.includes('onerror')));
  await page.go(`#/types?prefix=${encodeURIComponent('<')}`);
  await shows(page, 'td a', [bad]);
  await page.go('#/groups');
  await page.waitForSelector(`td:has-text("onerror")`);
  await page.go(`#/stream/${encodeURIComponent(bad)}`);
  await shows(page, 'h1', [bad]);
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  assert.deepEqual(await page.$$('main img, main script'), []);
  await page.end();

  const users = await openPage(guarded, '#/users', { expects: /401/ });
  await users.waitForSelector('.signin');
  await signIn(users, 'admin', ADMIN.STELE_ADMIN_PASSWORD);
  await users.waitForSelector('td:has-text("onerror")');
  assert.equal(await users.evaluate(() => window.pwned), undefined);
  assert.deepEqual(await users.$$('main img, main script, main b'), []);
  await users.end();
});

test('when the server goes the page says so; when it comes back everything goes on, none missed', async () => {
  const expects = /ERR_|Failed to load/;
  const page = await openPage(open, '#/', { expects });
  const live = await openPage(open, '#/live?prefix=gap-', { expects });
  await page.waitForSelector('.facts dd');
  await live.waitForSelector('.livestate .good');
  await open.append('gap-1', { type: 'Before' });
  await shows(live, 'tr.event td.type', ['Before']);
  await open.stop();
  await page.waitForSelector('#banner:not([hidden])');
  assert.match(await page.textContent('#banner'), /does not answer since \d\d:\d\d:\d\d UTC/);
  assert.ok(await page.isVisible('.facts dd'), 'what was shown stays');
  await live.waitForSelector('.livestate .wait');
  await open.start();
  await open.append('gap-1', [{ type: 'Meanwhile' }]);
  await page.waitForSelector('#banner', { state: 'hidden' });
  await page.waitForSelector('.facts dd');
  await open.append('gap-1', [{ type: 'After' }]);
  await shows(live, 'tr.event td.type', ['After', 'Meanwhile', 'Before']);
  await page.end();
  await live.end();
});

test('the servers end as they are asked to', async () => {
  await closeBrowser();
  await Promise.all([open.stop(), guarded.stop()]);
});
