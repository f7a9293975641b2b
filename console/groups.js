// Persistent subscription groups: who is behind, and what was parked.

import { ask, Unreachable } from '/api.js';
import { element, number, age, link, streamHref, streamLink, button, quiet, table, dialog, say } from '/dom.js';

const parkedStream = (row) => `$persistentsubscription-${row.stream}::${row.group}-parked`;

function lagOf(row) {
  if (row.lag_counted) return number(row.lag_events);
  return `> ${number(row.lag_events)}${row.lag_seconds > 0 ? `, ${age(row.lag_seconds)}` : ''}`;
}

export async function groupsView(view, me) {
  const body = element('tbody', {});
  const all = table('Groups', [['Stream', ''], ['Group', ''], ['State', ''], ['Behind', 'number'],
    ['In flight', 'number'], ['Parked', 'number'], ['Consumers', 'number'], ['Per second', 'number'],
    ['', '']], body, 'groups');
  const none = quiet('No persistent subscriptions. Clients make them: see docs/subscriptions.md.');
  const replay = (row) => dialog(`Replay what ${row.group} has parked?`,
    element('p', {}, `${number(row.parked)} events of ${row.stream} will be handed to its consumers again. `,
      'Those that fail again are parked again.'), 'Replay', async () => {
      await ask(`/api/groups/replay?${new URLSearchParams({ stream: row.stream, group: row.group })}`,
        { method: 'POST' });
      say('Being replayed');
      await load();
    });
  const cell = (label, value, kind = '') => element('td', { class: kind, 'data-label': label }, value);
  let drawn = '';
  const load = async () => {
    const rows = await ask('/api/groups');
    const now = JSON.stringify(rows);
    if (view.left || now === drawn) return; // Nothing is taken away under the reader's hand.
    drawn = now;
    const focused = body.contains(document.activeElement) ? document.activeElement.dataset.name : undefined;
    body.replaceChildren(...rows.map((row) => element('tr', {},
      cell('Stream', row.stream === '$all' ? link('#/events', 'all events') : streamLink(row.stream)),
      cell('Group', row.group, 'strong'),
      cell('State', element('span', {}, element('span', { class: `dot ${row.status === 'live' ? 'good' : 'wait'}` }), row.status)),
      cell('Behind', lagOf(row), 'number'),
      cell('In flight', number(row.in_flight), 'number'),
      cell('Parked', row.parked > 0
        ? link(streamHref(parkedStream(row)), number(row.parked), { class: 'bad', title: 'Look at them' })
        : '0', 'number'),
      cell('Consumers', row.consumers > 0 ? number(row.consumers)
        : element('span', { class: 'quiet' }, 'none'), 'number'),
      cell('Per second', number(row.per_second), 'number'),
      cell('', row.parked > 0 && me.ops ? button('Replay', () => replay(row),
        { 'data-name': `${row.stream}::${row.group}`, 'aria-label': `Replay what ${row.group} has parked` }) : '', 'do'))));
    if (focused !== undefined) {
      [...body.querySelectorAll('button')].find((one) => one.dataset.name === focused)?.focus();
    }
    all.hidden = rows.length === 0;
    none.hidden = rows.length > 0;
  };
  await load();
  view.show(element('h1', {}, 'Groups'), all, none);
  const timer = setInterval(() => load().catch((error) => {
    if (!(error instanceof Unreachable)) view.fail(error);
  }), 1000);
  view.onLeave(() => clearInterval(timer));
  view.lasting = true;
}
