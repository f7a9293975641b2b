// Streams, categories and types by the beginning of their names.

import { ask } from '/api.js';
import { element, number, link, query, streamHref, field, button, quiet, problem, table, say } from '/dom.js';

const PAGE = 100;
const KINDS = {
  streams: { title: 'Streams', href: (name) => streamHref(name) },
  categories: { title: 'Categories', href: (name) => streamHref(`$ce-${name}`) },
  types: { title: 'Types', href: (name) => streamHref(`$et-${name}`) },
};

export async function streamsView(view, kind, state) {
  let control = new AbortController();
  let prefix = state.prefix ?? '';
  let trail = [''];
  let names = [];
  const body = element('tbody', {});
  const words = element('div', {});
  const pages = element('div', { class: 'pages' });
  const draw = () => {
    body.replaceChildren(...names.map((one) => element('tr', {},
      element('td', {}, link(KINDS[kind].href(one.name), one.name)),
      element('td', { class: 'number' }, number(one.count)))));
    words.replaceChildren(...(names.length > 0 ? []
      : [quiet(prefix === '' ? 'None yet.' : `None begins with “${prefix}”.`)]));
    pages.replaceChildren(
      button('Previous', pager.p, { disabled: trail.length === 1 }),
      button('Next', pager.n, { disabled: names.length < PAGE }));
    say(`${names.length} ${kind}`);
  };
  const load = async (way) => {
    control.abort();
    control = new AbortController();
    try {
      names = await ask(`/api/${kind}${query({ prefix, after: way.at(-1), limit: PAGE })}`,
        { signal: control.signal });
      trail = way;
      draw();
    } catch (error) {
      if (error.name === 'AbortError') return;
      if (error.status === 401) view.fail(error);
      else words.replaceChildren(problem(error.message));
    }
  };
  const pager = {
    n: () => names.length === PAGE && load([...trail, names.at(-1).name]),
    p: () => trail.length > 1 && load(trail.slice(0, -1)),
  };
  view.keys(pager);
  const form = element('form', {
    class: 'bar', role: 'search',
    onsubmit: (submit) => {
      submit.preventDefault();
      if (names.length > 0) location.hash = KINDS[kind].href(names[0].name);
    },
  }, field('Name begins with', 'prefix', prefix, {
    size: 32, placeholder: kind === 'streams' ? 'order-' : '',
    oninput: (change) => {
      prefix = change.target.value;
      history.replaceState(null, '', `#/${kind}${query({ prefix })}`);
      load(['']);
    },
  }));
  const tabs = element('nav', { class: 'tabs', 'aria-label': 'Kinds of names' },
    Object.entries(KINDS).map(([one, { title }]) =>
      link(`#/${one}`, title, { 'aria-current': one === kind ? 'page' : undefined })));
  names = await ask(`/api/${kind}${query({ prefix, limit: PAGE })}`);
  view.show(element('h1', {}, 'Streams'), tabs, form,
    table(KINDS[kind].title, [['Name', ''], ['Events', 'number']], body, 'names'), words, pages);
  draw();
}
