// Events in a table: a row for each, which opens; pages that can be linked to; as of any time.

import { ask, Refused } from '/api.js';
import { element, number, time, query, link, streamHref, streamLink, field, button, quiet, problem,
  table, say } from '/dom.js';
import { block, preview } from '/json.js';

const PAGE = 50;
let ids = 0;

// What a link has in it, "12@order-1": text, although it is not called so.
function linkText(event) {
  if (event.type !== '$>') return undefined;
  if (event.data_base64 === undefined) return typeof event.data === 'string' ? event.data : undefined;
  const bytes = Uint8Array.from(atob(event.data_base64), (c) => c.charCodeAt(0));
  return new TextDecoder().decode(bytes);
}

function target(event) {
  const match = /^(\d+)@(.+)$/s.exec(linkText(event) ?? '');
  return match === null ? undefined : { revision: match[1], stream: match[2] };
}

function details(event) {
  const points = [
    ['Stream', streamLink(event.stream)],
    ['Revision', number(event.revision)],
    ['Position', element('span', {}, event.position, ' ',
      link(`#/events${query({ as_of: event.position })}`, 'everything as of here'))],
    ['Id', event.id],
    ['Created', element('span', {}, time(event.created), ' UTC')],
    event.content_type !== undefined ? ['Content type', event.content_type] : undefined,
    event.tags !== undefined ? ['Tags', event.tags.join(', ')] : undefined,
    event.tombstone ? ['Tombstone', 'the stream is closed for ever'] : undefined,
  ];
  const to = target(event);
  return element('div', { class: 'details' },
    element('dl', {}, points.filter(Boolean).map(([name, value]) =>
      element('div', {}, element('dt', {}, name), element('dd', {}, value)))),
    to === undefined ? undefined : element('p', {}, 'Stands for ',
      link(streamHref(to.stream, { from: to.revision }), `event ${to.revision} of ${to.stream}`), '.'),
    linkText(event) !== undefined ? block('Data', linkText(event))
      : event.data !== undefined ? block('Data', event.data)
        : event.data_base64 !== undefined ? block('Data (base64)', event.data_base64)
          : quiet('No data.'),
    event.metadata !== undefined ? block('Metadata', event.metadata)
      : event.metadata_base64 !== undefined ? block('Metadata (base64)', event.metadata_base64)
        : undefined);
}

export function eventRows(event, withStream) {
  const columns = withStream ? 5 : 4;
  const id = `event${++ids}`;
  const open = element('tr', { id, class: 'open', hidden: true });
  const opener = element('button', {
    type: 'button', class: 'opener', 'aria-expanded': 'false', 'aria-controls': id,
    onclick: () => {
      const show = open.hidden;
      if (open.children.length === 0) open.append(element('td', { colspan: columns }, details(event)));
      open.hidden = !show;
      opener.setAttribute('aria-expanded', String(show));
    },
  }, event.type);
  const row = element('tr', {
    class: 'event',
    onclick: (click) => {
      if (!click.target.closest('a, button') && String(getSelection()) === '') opener.click();
    },
  },
  element('td', { class: 'number' }, number(event.revision)),
  withStream ? element('td', { class: 'stream' }, streamLink(event.stream)) : undefined,
  element('td', { class: 'type' }, opener),
  element('td', { class: 'preview' }, preview(linkText(event) ?? event.data)),
  element('td', { class: 'created' }, time(event.created)));
  return [row, open];
}

export function eventTable(caption, body, withStream) {
  return table(caption, [['Revision', 'number'], withStream ? ['Stream', 'stream'] : undefined,
    ['Type', 'type'], ['Data', 'preview'], ['Created (UTC)', 'created']].filter(Boolean), body, 'events');
}

function metadata(name) {
  const holder = element('div', {});
  const opener = element('details', {
    class: 'meta',
    ontoggle: async () => {
      if (!opener.open) return;
      try {
        holder.replaceChildren(block('Metadata of the stream',
          await ask(`/api/meta/${encodeURIComponent(name)}`, { exact: true })));
      } catch (error) {
        holder.replaceChildren(error.status === 404 ? quiet('It has none.') : problem(error.message));
      }
    },
  }, element('summary', {}, 'Metadata: retention and access'), holder);
  return opener;
}

// What the address says: from and way ("newer": forwards), as_of, type, prefix.
export async function eventsView(view, stream, state) {
  const withStream = stream === undefined;
  const path = withStream ? '/api/all' : `/api/streams/${encodeURIComponent(stream)}`;
  const base = withStream ? '#/events' : `#/stream/${encodeURIComponent(stream)}`;
  const { way, ...asked } = state;
  const newer = way === 'newer';
  const go = (next) => { location.hash = base + query(next); };
  const kept = { type: state.type, as_of: state.as_of, prefix: state.prefix };
  const form = element('form', {
    class: 'bar', role: 'search',
    onsubmit: (submit) => {
      submit.preventDefault();
      go(Object.fromEntries(new FormData(submit.target)));
    },
  },
  withStream ? field('Stream begins with', 'prefix', state.prefix ?? '', { size: 16 }) : undefined,
  field('Type is', 'type', state.type ?? '', { list: 'types', size: 18 }),
  field('As of', 'as_of', state.as_of ?? '', { placeholder: '2026-11-20T15:00:00Z', size: 22,
    title: 'A time in UTC, or a position' }),
  element('datalist', { id: 'types' }),
  element('button', { class: 'primary' }, 'Show'),
  Object.values(kept).some((value) => value) ? button('Clear', () => go({})) : undefined);
  const heading = element('div', { class: 'heading' },
    element('h1', {}, withStream ? 'Events' : stream),
    link(`#/live${query(withStream ? { prefix: state.prefix, type: state.type } : { stream })}`,
      'Follow live', { class: 'button' }));

  let page;
  try {
    page = await ask(path + query({ ...asked, backwards: newer ? undefined : 1, limit: PAGE }),
      { exact: true });
  } catch (error) {
    if (!(error instanceof Refused) || error.status === 401) throw error;
    view.show(heading, form, error.status === 404 || error.status === 410
      ? quiet(`There is nothing: ${error.message}.`) : problem(error.message));
    return;
  }
  if (newer && page.events.length < PAGE) { // The newest page is a full one.
    go(kept);
    return;
  }
  const events = newer ? page.events.reverse() : page.events;
  const place = (event) => BigInt(withStream || /^\$(ce|et)-/.test(stream) ? event.position : event.revision);
  const first = events[0], last = events.at(-1);
  const atTop = state.from === undefined;
  const older = newer || page.next !== undefined;
  const pager = {
    n: () => older && last && place(last) > 0n && go({ ...kept, from: place(last) - 1n }),
    p: () => !atTop && first && go({ ...kept, from: place(first) + 1n, way: 'newer' }),
    g: () => !atTop && go(kept),
  };
  view.keys(pager);
  view.show(heading, form, withStream ? undefined : metadata(stream),
    events.length > 0 ? eventTable('Events, newest first',
      element('tbody', {}, events.map((event) => eventRows(event, withStream))), withStream)
      : quiet('No events.'),
    element('div', { class: 'pages' },
      button('Newest', pager.g, { disabled: atTop }),
      button('Newer', pager.p, { disabled: atTop }),
      button('Older', pager.n, { disabled: !older || events.length === 0 }),
      element('span', { class: 'quiet' }, events.length > 0
        ? `${number(events.length)} events${withStream ? '' : `: ${number(last.revision)} to ${number(first.revision)}`}` : '')));
  say(`${events.length} events`);
  ask('/api/types?limit=500').then((types) => {
    document.getElementById('types')?.append(...types.map(({ name }) => element('option', { value: name })));
  }).catch(() => {});
}
