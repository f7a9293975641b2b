// A live chart: the last two minutes of one or two series, drawn anew with every value.

import { element, put } from '/dom.js';

const POINTS = 120;
const WIDTH = 300, HEIGHT = 80;

function svg(name, attributes) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

// The next of 1, 2, 5, 10, …: a scale that does not jump with every value.
function roof(value) {
  if (!(value > 0)) return 1;
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((step) => step * unit >= value * 0.999) * unit;
}

// series: [{ name, kind }]; format(value) gives the words. zero: the scale begins at 0.
export function liveChart(title, series, format, { zero = true, note = '' } = {}) {
  const values = series.map(() => []);
  const big = element('b', {}, '–');
  const small = element('span', { class: 'note' }, note);
  const top = element('span', { class: 'top' });
  const readout = element('span', { class: 'readout', hidden: true });
  const drawing = svg('svg', {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': title });
  for (const y of [0.5, HEIGHT / 2, HEIGHT - 0.5]) {
    drawing.append(svg('line', { x1: 0, x2: WIDTH, y1: y, y2: y, class: 'grid' }));
  }
  const shapes = series.map(({ kind }) => {
    const area = kind === 'area' ? svg('path', { class: 'area' }) : undefined;
    const line = svg('path', { class: kind === 'second' ? 'line second' : 'line' });
    put(drawing, area, line);
    return { area, line };
  });
  const cursor = svg('line', { y1: 0, y2: HEIGHT, class: 'cursor', visibility: 'hidden' });
  drawing.append(cursor);
  const x = (index, count) => WIDTH - ((count - 1 - index) * WIDTH) / (POINTS - 1);

  const draw = () => {
    const all = values.flat().filter((value) => value !== undefined);
    const high = Math.max(...all, 0), low = Math.min(...all);
    const floor = zero || all.length === 0 ? 0 : low - Math.max((high - low) * 0.2, low * 0.001);
    const ceiling = zero ? roof(high) : high + Math.max((high - low) * 0.2, high * 0.001, 1);
    const y = (value) => HEIGHT - 1 - ((value - floor) / (ceiling - floor)) * (HEIGHT - 4);
    top.textContent = all.length === 0 ? '' : format(ceiling);
    shapes.forEach(({ area, line }, one) => {
      const pieces = [];
      let open = false;
      values[one].forEach((value, index) => {
        if (value !== undefined) {
          pieces.push(`${open ? 'L' : 'M'}${x(index, values[one].length).toFixed(1)},${y(value).toFixed(1)}`);
        }
        open = value !== undefined;
      });
      line.setAttribute('d', pieces.join(''));
      const first = values[one].findIndex((value) => value !== undefined);
      if (area && first >= 0 && values[one].every((value, at) => at < first || value !== undefined)) {
        area.setAttribute('d', `${pieces.join('')}L${WIDTH},${HEIGHT}L${x(first, values[one].length).toFixed(1)},${HEIGHT}Z`);
      }
    });
  };

  const plot = element('div', { class: 'plot' }, drawing, top, readout);
  plot.addEventListener('pointermove', (move) => {
    const box = plot.getBoundingClientRect();
    const count = values[0].length;
    const back = Math.round((1 - (move.clientX - box.left) / box.width) * (POINTS - 1));
    const index = count - 1 - back;
    const here = values.map((list) => list[index]);
    if (here.every((value) => value === undefined)) {
      readout.hidden = true;
      cursor.setAttribute('visibility', 'hidden');
      return;
    }
    cursor.setAttribute('x1', x(index, count));
    cursor.setAttribute('x2', x(index, count));
    cursor.setAttribute('visibility', 'visible');
    readout.textContent = `${back} s ago: ${here.map((value, one) =>
      `${series.length > 1 ? `${series[one].name} ` : ''}${value === undefined ? '–' : format(value)}`).join(', ')}`;
    readout.hidden = false;
  });
  plot.addEventListener('pointerleave', () => {
    readout.hidden = true;
    cursor.setAttribute('visibility', 'hidden');
  });

  const legend = series.length > 1
    ? element('span', { class: 'legend' }, series.map(({ name, kind }) =>
      element('span', { class: kind }, name))) : undefined;
  return {
    node: element('section', { class: 'card', 'aria-label': title },
      element('div', { class: 'cardhead' }, element('h2', {}, title), legend), big, small, plot,
      element('div', { class: 'axis' }, element('span', {}, '2 min ago'), element('span', {}, 'now'))),
    push(...next) {
      next.forEach((value, one) => {
        values[one].push(value);
        if (values[one].length > POINTS) values[one].shift();
      });
      draw();
      const known = next.map((value) => (value === undefined ? '–' : format(value)));
      big.textContent = known.join(' / ');
      const high = Math.max(...values.flat().filter((value) => value !== undefined), 0);
      drawing.setAttribute('aria-label', `${title}: now ${known.join(' and ')}; at most ${format(high)} in two minutes`);
    },
    note(text) { small.textContent = text; },
  };
}
