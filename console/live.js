// Events as they come.

import { follow, parse } from '/api.js';
import { element, number, query, field, button, quiet } from '/dom.js';
import { eventRows, eventTable } from '/events.js';

const KEPT = 200;

export function liveView(view, state) {
  const body = element('tbody', {});
  const light = element('span', { class: 'dot' });
  const words = element('span', { role: 'status' }, 'connecting…');
  const count = element('span', { class: 'quiet' }, '');
  const waiting = quiet('Nothing yet. What is appended from now on is shown here.');
  const stream = state.stream;
  let paused = false;
  let held = []; // What came while it was paused; as much as is shown.
  let seen = 0;
  const add = (event) => {
    waiting.hidden = true;
    const rows = eventRows(event, true);
    rows[0].classList.add('fresh');
    body.prepend(...rows);
    while (body.children.length > 2 * KEPT) body.lastChild.remove();
  };
  const tell = () => {
    const more = paused && held.length > 0
      ? ` · ${held.length === KEPT ? 'the last ' : ''}${number(held.length)} wait` : '';
    count.textContent = seen > 0 ? `${number(seen)} events${more}` : '';
  };
  const pause = button('Pause', () => {
    paused = !paused;
    pause.textContent = paused ? 'Go on' : 'Pause';
    pause.setAttribute('aria-pressed', String(paused));
    if (!paused) held.splice(0).forEach(add);
    tell();
  }, { 'aria-pressed': 'false', title: 'Key: s' });
  const path = stream === undefined ? `/api/tail${query({ prefix: state.prefix, type: state.type,
    include_system_events: state.system ? 1 : undefined })}` : `/api/tail/${encodeURIComponent(stream)}`;
  const stop = follow(path, {
    state(now) {
      light.className = `dot ${now === 'live' ? 'good' : 'wait'}`;
      words.textContent = now === 'live' ? 'live' : 'connecting…';
    },
    refused(error) { view.fail(error); },
    event(name, data) {
      if (name !== 'message') return;
      const event = parse(data);
      seen++;
      if (paused) {
        held.push(event);
        held = held.slice(-KEPT);
      } else add(event);
      tell();
    },
  });
  view.onLeave(stop);
  view.lasting = true;
  view.keys({ s: () => pause.click() });
  const form = element('form', {
    class: 'bar', role: 'search',
    onsubmit: (submit) => {
      submit.preventDefault();
      location.hash = `#/live${query(Object.fromEntries(new FormData(submit.target)))}`;
    },
  },
  stream !== undefined ? field('Stream', 'stream', stream, { size: 28 }) : [
    field('Stream begins with', 'prefix', state.prefix ?? '', { size: 16 }),
    field('Type is', 'type', state.type ?? '', { size: 18 }),
    element('label', { class: 'check' }, element('input', { type: 'checkbox', name: 'system',
      value: '1', checked: Boolean(state.system) }), 'system events'),
  ], element('button', {}, 'Follow'), pause);
  view.show(element('div', { class: 'heading' },
    element('h1', {}, stream === undefined ? 'Live' : `Live: ${stream}`),
    element('span', { class: 'livestate' }, light, words), count), form,
  eventTable('Events as they come, newest first', body, true), waiting);
}
