// The console: routes, keys, who is signed in. Views are in the other files. No framework, no network
// but this server, nothing that is not in the binary.

import { ask, signIn, signOut, whenBack, Refused, Unreachable } from '/api.js';
import { element, field, problem, button, put } from '/dom.js';
import { overview } from '/overview.js';
import { streamsView } from '/streams.js';
import { eventsView } from '/events.js';
import { liveView } from '/live.js';
import { groupsView } from '/groups.js';
import { usersView } from '/users.js';

const main = document.getElementById('main');
const who = document.getElementById('who');
let me = { anonymous: true };
let view;

// What a view is given. A view that was left draws no more: an answer that comes late is dropped.
function makeView() {
  const leaving = [];
  return {
    left: false,
    lasting: false, // Goes on by itself when the server comes back.
    pressed: {},
    show(...nodes) {
      if (!this.left) put(main, (main.replaceChildren(), nodes));
    },
    fail(error) {
      if (this.left || error.name === 'AbortError') return;
      if (error instanceof Refused && error.status === 401) askWho(error);
      else if (!(error instanceof Unreachable) || main.children.length === 0) {
        this.show(element('h1', {}, 'That did not work'), problem(error.message));
      }
    },
    keys(map) { Object.assign(this.pressed, map); },
    onLeave(callback) { leaving.push(callback); },
    leave() {
      this.left = true;
      leaving.forEach((callback) => callback());
    },
  };
}

// ---- Signing in ----------------------------------------------------------------------------

function showWho() {
  who.replaceChildren();
  if (me.insecure) {
    who.append(element('span', { class: 'tag', title: 'Started with --insecure: no users, no passwords' }, 'insecure'));
  } else if (!me.anonymous) {
    who.append(element('span', { class: 'quiet' }, me.name), ' ', button('Sign out', () => {
      signOut();
      me = { anonymous: true };
      showWho();
      route();
    }, { class: 'plain' }));
  }
}

function askWho(error) {
  const words = element('div', {}, me.anonymous ? undefined : problem(error.message));
  const form = element('form', {
    class: 'signin',
    onsubmit: async (submit) => {
      submit.preventDefault();
      const { login, password } = Object.fromEntries(new FormData(form));
      try {
        me = await signIn(login, password);
        showWho();
        route();
      } catch (failure) {
        words.replaceChildren(problem(failure.message));
        form.elements.password.select();
      }
    },
  }, element('h1', {}, 'Sign in'), words,
  field('User', 'login', '', { required: true, autocomplete: 'username', autocapitalize: 'none' }),
  field('Password', 'password', '', { required: true, type: 'password', autocomplete: 'current-password' }),
  element('button', { class: 'primary' }, 'Sign in'));
  view.show(form);
  form.elements.login.focus();
}

// ---- Routes --------------------------------------------------------------------------------

async function draw(now, path, state) {
  if (path === '') return overview(now);
  if (path === 'streams' || path === 'categories' || path === 'types') return streamsView(now, path, state);
  if (path === 'events') return eventsView(now, undefined, state);
  if (path === 'live') return liveView(now, state);
  if (path === 'groups') return groupsView(now, me);
  if (path === 'users') return usersView(now, me);
  if (path.startsWith('stream/')) return eventsView(now, decodeURIComponent(path.slice(7)), state);
  return now.show(element('h1', {}, 'There is no such view'),
    element('p', {}, element('a', { href: '#/' }, 'To the overview')));
}

function place() {
  const [path, words] = location.hash.replace(/^#\/?/, '').split(/\?(.*)/s);
  return { path, state: Object.fromEntries(new URLSearchParams(words ?? '')) };
}

async function route() {
  if (location.hash === '#main') return; // "Skip to content".
  view?.leave();
  const now = makeView();
  view = now;
  const { path, state } = place();
  const tab = path.startsWith('stream/') || path === 'categories' || path === 'types' ? 'streams' : path;
  for (const one of document.querySelectorAll('header nav a')) {
    if (one.getAttribute('href') === `#/${tab}`) {
      one.setAttribute('aria-current', 'page');
      document.title = `${path.startsWith('stream/') ? decodeURIComponent(path.slice(7)) : one.textContent} · Stele`;
    } else one.removeAttribute('aria-current');
  }
  try {
    await draw(now, path, state);
  } catch (error) {
    now.fail(error);
  }
}

// ---- Keys ----------------------------------------------------------------------------------

const KEYS = [
  ['1 … 6', 'the views, from Overview to Users'], ['/', 'to the search field'],
  ['j  k', 'down and up in a table'], ['Enter', 'open what has the focus'],
  ['n  p', 'older and newer page, or next and previous'], ['g', 'the newest page'],
  ['s', 'in Live: stop and go on'], ['t', 'dark, light, or as the system has it'],
  ['Esc', 'out of a field or a dialog'], ['?', 'this list'],
];

function showKeys() {
  if (document.querySelector('dialog')) return;
  const box = element('dialog', { 'aria-label': 'Keyboard shortcuts' },
    element('h2', {}, 'Keyboard shortcuts'),
    element('dl', { class: 'keys' }, KEYS.map(([keys, words]) => element('div', {},
      element('dt', {}, keys.split('  ').map((key) => element('kbd', {}, key))),
      element('dd', {}, words)))),
    element('form', { method: 'dialog', class: 'actions' }, element('button', {}, 'Close')));
  box.addEventListener('close', () => box.remove());
  document.body.append(box);
  box.showModal();
}

const THEMES = { auto: ['◐', 'as the system has it'], light: ['☀', 'light'], dark: ['☾', 'dark'] };
const themeButton = document.getElementById('theme');
function showTheme() {
  const [sign, words] = THEMES[document.documentElement.dataset.theme] ?? THEMES.auto;
  themeButton.textContent = sign;
  themeButton.title = `Colours: ${words} (t)`;
  themeButton.setAttribute('aria-label', `Colours: ${words}`);
}
function turnTheme() {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length];
  document.documentElement.dataset.theme = next;
  localStorage.setItem('stele-theme', next);
  showTheme();
}

function step(way) {
  const stops = [...main.querySelectorAll('tbody tr:not([hidden])')]
    .map((row) => row.querySelector('button.opener, a, button')).filter(Boolean);
  const at = stops.findIndex((stop) => stop.closest('tr').contains(document.activeElement));
  const next = stops[Math.min(stops.length - 1, Math.max(0, at < 0 ? 0 : at + way))];
  next?.focus();
  next?.scrollIntoView({ block: 'nearest' });
}

addEventListener('keydown', (press) => {
  if (press.ctrlKey || press.metaKey || press.altKey || document.querySelector('dialog')) return;
  if (press.target.matches('input, textarea')) {
    if (press.key === 'Escape') press.target.blur();
    return;
  }
  const target = document.querySelector(`header nav a[data-key="${CSS.escape(press.key)}"]`);
  if (target) location.hash = target.getAttribute('href');
  else if (press.key === '/') main.querySelector('input')?.focus();
  else if (press.key === '?') showKeys();
  else if (press.key === 't') turnTheme();
  else if (press.key === 'j') step(1);
  else if (press.key === 'k') step(-1);
  else if (view?.pressed[press.key]) view.pressed[press.key]();
  else return;
  press.preventDefault();
});
document.getElementById('keys').addEventListener('click', showKeys);
themeButton.addEventListener('click', turnTheme);
addEventListener('hashchange', route);

async function begin(again) {
  try {
    me = await ask('/api/me');
  } catch (error) {
    if (error instanceof Refused && error.status === 401) signOut(); // A password that was changed.
  }
  showWho();
  if (!again || !view.lasting) route();
}
whenBack(() => begin(true));
showTheme();
begin(false);
