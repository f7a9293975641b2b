// JSON for reading: indented, coloured, its numbers digit by digit as they are stored.

import { isDigits } from '/api.js';
import { element, button } from '/dom.js';

const SHOWN_MAX = 100000; // Characters, until one asks for all.

function text(value, indent) {
  if (isDigits(value)) return value.text;
  if (Array.isArray(value)) {
    if (value.length === 0) return '[]';
    const inner = `${indent}  `;
    return `[\n${value.map((one) => inner + text(one, inner)).join(',\n')}\n${indent}]`;
  }
  if (value !== null && typeof value === 'object') {
    const pairs = Object.entries(value);
    if (pairs.length === 0) return '{}';
    const inner = `${indent}  `;
    return `{\n${pairs.map(([key, one]) =>
      `${inner}${JSON.stringify(key)}: ${text(one, inner)}`).join(',\n')}\n${indent}}`;
  }
  return JSON.stringify(value);
}

export const format = (value) => (typeof value === 'string' ? value : text(value, ''));

export function preview(value) {
  if (value === undefined) return '';
  if (typeof value === 'string') return value.slice(0, 160);
  return text(value, '').slice(0, 1000).replace(/\n\s*/g, ' ').slice(0, 160);
}

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|-?\d[\d.eE+-]*/g;

function colour(node, shown) {
  let at = 0;
  for (const match of shown.matchAll(TOKEN)) {
    node.append(shown.slice(at, match.index));
    const [all, string, colon, word] = match;
    const kind = colon !== undefined ? 'key' : string !== undefined ? 'string' : word ? 'word' : 'digits';
    node.append(element('span', { class: kind }, colon === undefined ? all : string), colon ?? '');
    at = match.index + all.length;
  }
  node.append(shown.slice(at));
}

export function block(title, value) {
  const whole = format(value);
  const pre = element('pre', { tabindex: '0', 'aria-label': title });
  const draw = (shown) => {
    pre.replaceChildren();
    if (typeof value === 'string') pre.append(shown);
    else colour(pre, shown);
  };
  draw(whole.slice(0, SHOWN_MAX));
  const head = element('div', { class: 'blockhead' }, element('h3', {}, title));
  if (whole.length > SHOWN_MAX) {
    head.append(button(`Show all ${whole.length.toLocaleString('en')} characters`, (click) => {
      draw(whole);
      click.target.remove();
    }));
  }
  if (navigator.clipboard) {
    head.append(button('Copy', async (click) => {
      await navigator.clipboard.writeText(whole);
      click.target.textContent = 'Copied';
    }, { 'aria-label': `Copy ${title.toLowerCase()}` }));
  }
  return element('section', { class: 'block' }, head, pre);
}
