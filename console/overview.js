// Overview: is it well, and what does it do just now?

import { ask, Refused, Unreachable } from '/api.js';
import { element, number, size, rate, duration, age, problem, link } from '/dom.js';
import { liveChart } from '/chart.js';

// The quantile of what came between two counts of buckets [[bound, count], …], in µs.
function quantile(now, before, wanted) {
  const fresh = now.map(([bound, count], at) => [bound, count - before[at][1]]);
  const total = fresh.reduce((sum, [, count]) => sum + count, 0);
  if (total <= 0) return undefined;
  let left = wanted * total;
  let low = 0;
  for (const [bound, count] of fresh) {
    if (count > 0 && left <= count) {
      return bound === null ? low : low + (bound - low) * (left / count);
    }
    left -= count;
    low = bound ?? low;
  }
  return low;
}

const sum = (list, member) => list.reduce((all, one) => all + one[member], 0);

export async function overview(view) {
  const written = liveChart('Written', [{ name: 'events', kind: 'area' }], (v) => `${rate(v)}/s`);
  const read = liveChart('Read', [{ name: 'events', kind: 'area' }], (v) => `${rate(v)}/s`);
  const latency = liveChart('Appends take', [{ name: 'median', kind: 'first' },
    { name: '99 of 100', kind: 'second' }], duration, { note: 'until durable: median / 99 of 100' });
  const lag = liveChart('Groups behind', [{ name: 'events', kind: 'area' }],
    (v) => `${number(Math.round(v))}`, { note: 'events that consumers have yet to be done with' });
  const disk = liveChart('Size on disk', [{ name: 'bytes', kind: 'area' }], size, { zero: false });
  const cpu = liveChart('Processor', [{ name: 'of one', kind: 'area' }], (v) => `${v.toFixed(v < 10 ? 1 : 0)} %`);
  const state = element('p', { class: 'state' });
  const alarms = element('div', {});
  const facts = element('dl', { class: 'facts' });
  view.show(element('h1', {}, 'Overview'), state, alarms,
    element('div', { class: 'charts' },
      [written, latency, lag, read, disk, cpu].map((chart) => chart.node)), facts);

  let last;
  let groups = [];
  let mayGroups = true;
  const draw = (stats, now) => {
    const well = !stats.fenced && stats.damage === 0;
    state.replaceChildren(
      element('span', { class: well ? 'dot good' : 'dot bad' }),
      well ? 'Takes appends' : stats.fenced ? 'Takes no appends' : 'Takes appends; damage was found',
      element('span', { class: 'quiet' },
        ` · up ${age(stats.uptime_seconds)} · store ${stats.store}`));
    alarms.replaceChildren(...[
      stats.fenced && problem('A write failed, so the store takes no more appends. Look at the log for ' +
        'the cause (a full disk?), then start the server again.'),
      stats.damage > 0 && problem(`${number(stats.damage)} damaged places were found: run “stele verify”.`),
    ].filter(Boolean));
    if (last !== undefined) {
      const seconds = now - last.now;
      const each = (member) => Math.max(0, (stats[member] - last.stats[member]) / seconds);
      written.push(each('events_written'));
      written.note(`${size(each('bytes_written'))}/s in ${rate(each('appends'))} appends/s, ` +
        `${rate(each('appends_refused'))} refused`);
      read.push(each('events_read'));
      read.note(`${size(each('bytes_read'))}/s`);
      latency.push(quantile(stats.appends_us, last.stats.appends_us, 0.5),
        quantile(stats.appends_us, last.stats.appends_us, 0.99));
      cpu.push(100 * each('cpu_seconds'));
      cpu.note(`${size(stats.resident_max)} of memory at most`);
    }
    disk.push(stats.disk_size);
    disk.note(`${number(stats.segments)} segment${stats.segments === 1 ? '' : 's'}, ${size(stats.log_size)} of log`);
    lag.push(sum(groups, 'lag_events'));
    const behind = Math.max(0, ...groups.map((one) => one.lag_seconds));
    if (behind > 0) lag.note(`events at hand; a reader of everything is ${age(behind)} behind`);
    const parked = sum(groups, 'parked');
    facts.replaceChildren(...[
      ['Events', number(stats.events)], ['Streams', number(stats.streams)],
      ['Groups', number(groups.length)],
      ['Parked', parked > 0 ? link('#/groups', number(parked), { class: 'bad' }) : '0'],
      ['Connections', number(stats.connections)], ['Live tails', number(stats.http_tails)],
      ['Index behind', size(stats.index_behind)], ['Memory of the store', size(stats.memory)],
    ].map(([name, value]) => element('div', {}, element('dt', {}, name), element('dd', {}, value))));
    last = { stats, now };
  };
  let busy = false;
  const tick = async () => {
    if (busy) return;
    busy = true;
    try {
      if (mayGroups) {
        groups = await ask('/api/groups').catch((error) => {
          if (!(error instanceof Refused)) throw error;
          mayGroups = error.status === 503;
          return [];
        });
      }
      const stats = await ask('/stats');
      if (view.left) return;
      draw(stats, performance.now() / 1000);
    } finally {
      busy = false;
    }
  };
  await tick();
  const timer = setInterval(() => tick().catch((error) => {
    if (!(error instanceof Unreachable)) view.fail(error);
  }), 1000);
  view.onLeave(() => clearInterval(timer));
  view.lasting = true;
}
