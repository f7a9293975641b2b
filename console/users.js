// Users: who may sign in, and to which groups they belong.

import { ask } from '/api.js';
import { element, field, button, quiet, table, dialog, say } from '/dom.js';

const MEANING = element('p', { class: 'quiet' },
  'Members of $admins may do everything, members of $ops run the server; others have the rights ',
  'that streams give them.');
const groupsOf = (text) => text.split(/[\s,]+/).filter((group) => group !== '');
const password = (label) => field(label, 'password', '', {
  type: 'password', autocomplete: 'new-password', required: true, minlength: 8 });
const path = (login) => `/api/users/${encodeURIComponent(login)}`;

export async function usersView(view, me) {
  if (me.insecure) {
    view.show(element('h1', {}, 'Users'),
      quiet('This server runs with --insecure: there are no users, and everybody may do everything.'));
    return;
  }
  const again = (words) => {
    say(words);
    return usersView(view, me);
  };
  const create = () => dialog('New user', [
    field('Login', 'login', '', { required: true, maxlength: 255 }),
    field('Full name', 'full_name', '', { maxlength: 255 }),
    field('Groups', 'groups', '', { placeholder: '$ops, accounting' }),
    password('Password, 8 characters at least'),
  ], 'Make the user', async (values) => {
    await ask('/api/users', { method: 'POST', body: { ...values, groups: groupsOf(values.groups) } });
    await again('Made');
  });
  const edit = (row) => dialog(`Edit ${row.login}`, [
    field('Full name', 'full_name', row.full_name, { maxlength: 255 }),
    field('Groups', 'groups', row.groups.join(', ')),
  ], 'Save', async (values) => {
    await ask(path(row.login), { method: 'POST',
      body: { full_name: values.full_name, groups: groupsOf(values.groups) } });
    await again('Saved');
  });
  const renew = (row) => dialog(`New password for ${row.login}`,
    password('Password, 8 characters at least'), 'Set it', async (values) => {
      await ask(path(row.login), { method: 'POST', body: { password: values.password } });
      await again('Set');
    });
  const turn = (row) => dialog(row.disabled ? `Enable ${row.login}?` : `Disable ${row.login}?`,
    element('p', {}, row.disabled ? 'The user will be able to sign in again.'
      : 'The user will not be able to sign in any more, until enabled.'),
    row.disabled ? 'Enable' : 'Disable', async () => {
      await ask(path(row.login), { method: 'POST', body: { disabled: !row.disabled } });
      await again('Done');
    });
  const remove = (row) => dialog(`Delete ${row.login}?`,
    element('p', {}, 'What the user has done stays in the audit stream. There is no way back.'),
    'Delete', async () => {
      await ask(path(row.login), { method: 'DELETE' });
      await again('Deleted');
    }, 'danger');
  const rows = await ask('/api/users');
  const cell = (label, value, kind) => element('td', { class: kind, 'data-label': label }, value);
  const act = (words, verb, row) => button(words, () => verb(row), { 'aria-label': `${words}: ${row.login}` });
  view.show(element('div', { class: 'heading' }, element('h1', {}, 'Users'),
    button('New user', create, { class: 'primary' })), MEANING,
  table('Users', [['Login', ''], ['Name', ''], ['Groups', ''], ['State', ''], ['', '']],
    rows.map((row) => element('tr', {},
      cell('Login', row.login, 'strong'), cell('Name', row.full_name), cell('Groups', row.groups.join(', ')),
      cell('State', element('span', {}, element('span', { class: `dot ${row.disabled ? 'bad' : 'good'}` }),
        row.disabled ? 'disabled' : 'active')),
      cell('', [act('Edit', edit, row), act('Password', renew, row),
        act(row.disabled ? 'Enable' : 'Disable', turn, row), act('Delete', remove, row)], 'do'))), 'users'));
}
