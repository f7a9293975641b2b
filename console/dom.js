// Elements, numbers, times, dialogs: what every view needs. Texts only ever become text nodes.

export function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== false && value !== null) {
      node.setAttribute(key, value === true ? '' : value);
    }
  }
  put(node, ...children);
  return node;
}

export function put(node, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child !== undefined && child !== null && child !== false) node.append(child);
  }
  return node;
}

export const number = (value) => Number(value).toLocaleString('en');

export function size(bytes) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  while (bytes >= 1024 && at < units.length - 1) { bytes /= 1024; at++; }
  return `${at === 0 ? Math.round(bytes) : bytes.toFixed(bytes < 10 ? 2 : 1)} ${units[at]}`;
}

export function rate(value) {
  return value === 0 ? '0' : value < 10 ? value.toFixed(1) : number(Math.round(value));
}

export function duration(us) {
  if (us < 1000) return `${Math.round(us)} µs`;
  if (us < 1e6) return `${(us / 1000).toFixed(us < 1e4 ? 1 : 0)} ms`;
  return `${(us / 1e6).toFixed(us < 1e7 ? 1 : 0)} s`;
}

export function age(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
  return `${Math.floor(seconds / 86400)} days`;
}

// "2026-11-20 15:00:00.250", in UTC as everything here; the hint tells the reader's own time.
export function time(created) {
  const text = String(created);
  const short = text.replace('T', ' ').replace(/(\.\d{3})\d*Z$|Z$/, '$1');
  return element('time', { datetime: text, title: `${new Date(text).toLocaleString()} here` }, short);
}

export function query(values) {
  const pairs = Object.entries(values).filter(([, value]) => value !== '' && value !== undefined);
  return pairs.length === 0 ? '' : `?${new URLSearchParams(pairs)}`;
}

export const link = (to, text, attributes = {}) => element('a', { href: to, ...attributes }, text);
export const streamHref = (name, values = {}) =>
  `#/stream/${encodeURIComponent(name)}${query(values)}`;
export const streamLink = (name) => link(streamHref(name), name);

export function field(label, name, value, attributes = {}) {
  return element('label', {}, label, element('input', {
    name, value, autocomplete: 'off', spellcheck: 'false', ...attributes }));
}

export const button = (text, onclick, attributes = {}) =>
  element('button', { type: 'button', onclick, ...attributes }, text);

export const quiet = (...text) => element('p', { class: 'quiet' }, ...text);
export const problem = (text) => element('p', { class: 'problem', role: 'alert' }, text);

// For those who listen to the page instead of looking at it.
export function say(text) {
  document.getElementById('said').textContent = text;
}

export function table(caption, columns, rows, name = '') {
  return element('table', { class: name, 'aria-label': caption },
    element('thead', {}, element('tr', {}, columns.map(([title, kind]) =>
      element('th', { scope: 'col', class: kind }, title)))),
    rows instanceof Node ? rows : element('tbody', {}, rows));
}

// A dialog with a form: `act` is called with its values; what it throws is shown in the dialog.
export function dialog(title, content, verb, act, kind = 'primary') {
  const words = element('div', {});
  const box = element('dialog', { 'aria-label': title });
  const form = element('form', {
    onsubmit: async (submit) => {
      submit.preventDefault();
      words.replaceChildren();
      const confirm = form.querySelector('button[type=submit]');
      confirm.disabled = true;
      try {
        await act(Object.fromEntries(new FormData(form)));
        box.close();
      } catch (error) {
        words.replaceChildren(problem(error.message));
      } finally {
        confirm.disabled = false;
      }
    },
  }, element('h2', {}, title), content, words,
  element('div', { class: 'actions' },
    button('Cancel', () => box.close()),
    element('button', { type: 'submit', class: kind }, verb)));
  box.append(form);
  box.addEventListener('close', () => box.remove());
  document.body.append(box);
  box.showModal();
  return box;
}
