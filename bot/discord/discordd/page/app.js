// The page on which a person plays the users of the stand-in. It keeps no
// state of its own: what it shows it reads from the server after each change.
// Address parameters, for screenshots: user and channel (id or name), theme
// (dark, light), now (Unix seconds, for relative times), message (an id to
// scroll to), click (a custom id in the channel, pressed once when the page has
// loaded), live=0 (do not follow changes: the page loads to an end).
'use strict';

const params = new URLSearchParams(location.search);
const $ = (id) => document.getElementById(id);
let state = null;
let user = null;
let channel = null;
let stream = null;
let replyTo = null;
let editing = null;
let command = null; // the slash command being filled in: {path, spec}
let files = [];

document.documentElement.dataset.theme = params.get('theme') === 'light' ? 'light' : 'dark';
$('theme').onclick = () => {
  const d = document.documentElement.dataset;
  d.theme = d.theme === 'dark' ? 'light' : 'dark';
};

async function get(path, query) {
  const r = await fetch(path + '?' + new URLSearchParams(query));
  if (!r.ok) throw new Error(await r.text());
  return r.json();
}

async function act(what) {
  const r = await fetch('/page/act', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ user, channel, ...what }) });
  if (!r.ok) { toast(await r.text()); return null; }
  const out = await r.json();
  if (out.error) { toast(out.error); return null; }
  if (out.modal) openModal(out);
  return out;
}

let toastTimer;
function toast(text) {
  $('toast').textContent = text;
  $('toast').hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { $('toast').hidden = true; }, 5000);
}

const now = () => Number(params.get('now')) || Date.parse(state.now) / 1000; // the server's clock may have been moved
const userByID = (id) => state.users.find((u) => u.id === id);
const display = (u) => u.global_name || u.name || u.username;
const allChannels = () => state.guilds.flatMap((g) => g.channels.flatMap((c) => [c, ...c.threads]));
const ctx = () => ({
  now: now(),
  user: (id) => { const u = userByID(id); return u && display(u); },
  role: (id) => state.guilds.flatMap((g) => g.roles).find((r) => r.id === id)?.name,
  channel: (id) => allChannels().find((c) => c.id === id)?.name,
});
const commands = () => [...state.guilds.flatMap((g) => g.commands), ...state.commands];
const colour = (n) => '#' + n.toString(16).padStart(6, '0');
const palette = ['#5865f2', '#757e8a', '#3ba55c', '#faa61a', '#ed4245', '#eb459e'];
const dateOf = (t) => new Intl.DateTimeFormat('en-GB', { timeZone: 'UTC', dateStyle: 'short', timeStyle: 'short' }).format(new Date(t)) + ' UTC';

function drawSide() {
  $('guild').textContent = state.guilds[0]?.name || 'No server';
  const box = $('channels');
  box.textContent = '';
  const link = (id, name, cls) => el('a', { class: [cls, id === channel ? 'on' : ''].join(' ').trim() || undefined, onclick: () => open(id) }, name);
  for (const g of state.guilds) {
    for (const c of g.channels) {
      box.append(link(c.id, '# ' + c.name));
      for (const t of c.threads) box.append(link(t.id, (t.thread_metadata.archived ? '▫ ' : '└ ') + t.name, 'thread'));
    }
  }
  box.append(el('a', {
    class: state.dm && state.dm === channel ? 'on' : undefined,
    onclick: async () => { const r = await act({ do: 'dm' }); if (r) { await refresh(); open(r.channel); } },
  }, '@ ' + display(state.bot)));
  const select = $('user');
  select.textContent = '';
  for (const u of state.users) if (!u.bot) select.append(el('option', { value: u.id, selected: u.id === user }, display(u)));
  select.onchange = () => { user = select.value; params.set('user', user); connect(); refresh().then(() => open(channel)); };
  const here = allChannels().find((c) => c.id === channel);
  $('title').textContent = '';
  $('title').append(here ? (here.thread_metadata ? '🧵 ' : '# ') + here.name : '@ ' + display(state.bot), el('small', {}, here?.topic || '',
    here?.thread_metadata?.archived ? 'archived' : '', state.connected ? '' : '  (the bot is not connected)'));
  $('text').placeholder = 'Message ' + (here ? '#' + here.name : '@' + display(state.bot));
}

async function refresh() {
  state = await get('/page/state', { user });
  drawSide();
}

async function open(id) {
  channel = id;
  params.set('channel', id);
  history.replaceState(null, '', '?' + params);
  drawSide();
  await draw();
}

async function draw() {
  const box = $('messages');
  let list;
  try {
    list = channel ? await get('/page/messages', { user, channel }) : [];
  } catch (e) {
    box.textContent = '';
    box.append(el('div', { class: 'system' }, 'This person cannot see this channel.'));
    return;
  }
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 80;
  box.textContent = '';
  for (const entry of list) box.append(drawMessage(entry));
  const wanted = params.get('message') && box.querySelector(`[data-id="${CSS.escape(params.get('message'))}"]`);
  const settle = () => {
    if (wanted) wanted.scrollIntoView();
    else if (atEnd || !box.dataset.drawn) box.scrollTop = box.scrollHeight;
  };
  settle();
  const pictures = [...box.querySelectorAll('img')];
  await Promise.all(pictures.map((i) => i.decode().catch(() => {}))); // a picture that cannot be drawn takes no room
  settle();
  box.dataset.drawn = channel;
}

function drawMessage({ message: m, ephemeral, thread }) {
  const c = ctx();
  if (m.type === 18) return el('div', { class: 'system', 'data-id': m.id }, el('b', {}, display(m.author)), ' started a thread: ' + m.content);
  if (m.type === 21) return el('div', { class: 'system', 'data-id': m.id }, 'The thread begins at: ', el('b', {}, display(m.referenced_message.author)), ' — ' + (m.referenced_message.content || 'a card').slice(0, 200));
  const author = userByID(m.author.id) || m.author;
  const avatar = el('div', { class: 'avatar' }, display(author).slice(0, 1).toUpperCase());
  avatar.style.background = palette[Number(BigInt(m.author.id) % 6n)];
  const name = el('b', {}, display(author));
  if (author.color) name.style.color = colour(author.color);
  const body = el('div', { class: 'body' });
  if (m.flags & 128) body.append(el('div', { class: 'thinking' }, display(author) + ' is thinking…'));
  if (m.content) body.append(markdown(m.content, c));
  if (m.edited_timestamp) body.append(el('span', { class: 'edited' }, '(edited)'));
  const v2 = (m.flags & 32768) !== 0;
  const shown = new Set();
  for (const e of m.embeds) { [e.image, e.thumbnail].forEach((i) => i && shown.add(i.url)); }
  if (!v2) for (const a of m.attachments) if (!shown.has(a.url)) body.append(drawAttachment(a));
  for (const e of m.embeds) body.append(drawEmbed(e, c));
  for (const k of m.components) body.append(drawComponent(k, m, c));
  if (m.reactions?.length) body.append(el('div', { class: 'reactions' }, m.reactions.map((r) => el('span', { class: r.me ? 'me' : undefined }, r.emoji.name + ' ' + r.count))));
  if (thread) body.append(el('div', { class: 'threadlink', onclick: () => open(thread.id) }, el('b', {}, thread.name), ' — ' + (thread.message_count || 0) + ' messages ›'));
  if (ephemeral) body.append(el('div', { class: 'note' }, '👁 Only you can see this · ', el('a', { onclick: () => act({ do: 'delete', message: m.id }) }, 'Dismiss message')));
  const mine = m.author.id === user;
  const tools = el('div', { class: 'tools' },
    el('button', { title: 'Reply', onclick: () => { replyTo = m; editing = null; showReply(); } }, '↩'),
    el('button', { title: 'React', onclick: () => act({ do: 'react', message: m.id, text: '👍' }) }, '👍'),
    !ephemeral && !thread && m.guild_id ? el('button', { title: 'Thread', onclick: async () => { const r = await act({ do: 'thread', message: m.id, text: (m.content || 'thread').slice(0, 40) }); if (r) { await refresh(); open(r.channel); } } }, '🧵') : null,
    el('button', { title: 'Apps', onclick: (e) => contextMenu(e, m) }, '⋯'),
    mine ? el('button', { title: 'Edit', onclick: () => { editing = m; replyTo = null; $('text').value = m.content; showReply(); } }, '✎') : null,
    mine ? el('button', { title: 'Delete', onclick: () => act({ do: 'delete', message: m.id }) }, '🗑') : null);
  const pinged = m.mentions.some((u) => u.id === user) || m.mention_everyone;
  let quoted = null;
  const used = m.interaction_metadata;
  if (m.type === 19 && m.referenced_message) quoted = el('div', { class: 'quoted' }, display(userByID(m.referenced_message.author.id) || m.referenced_message.author) + '  ' + (m.referenced_message.content || 'a card').replace(/\s+/g, ' ').slice(0, 120));
  else if ((m.type === 20 || m.type === 23) && used) quoted = el('div', { class: 'quoted' }, display(userByID(used.user.id) || used.user) + ' used a command');
  return el('div', { class: ['message', pinged ? 'pinged' : '', ephemeral ? 'ephemeral' : ''].join(' ').trim(), 'data-id': m.id, oncontextmenu: (e) => { e.preventDefault(); contextMenu(e, m); } },
    quoted, avatar, el('div', { class: 'who' }, name, m.author.bot ? el('span', { class: 'tag' }, 'APP') : null, el('time', {}, dateOf(m.timestamp))), body, tools);
}

// Only pictures of the server itself are loaded.
const isPicture = (a) => (a.content_type || '').startsWith('image/') && !a.content_type.includes('svg');
const own = (url) => { const u = safeURL(url); return u && new URL(u).pathname.startsWith('/attachments/') ? new URL(u).pathname : null; };
const size = (n) => (n < 1024 ? n + ' bytes' : n < 1048576 ? (n / 1024).toFixed(2) + ' KB' : (n / 1048576).toFixed(2) + ' MB');

function picture(url, alt, cls) {
  const path = own(url);
  return path ? el('img', { src: path, alt: alt || '', class: cls }) : el('span', { class: 'note' }, '[picture at ' + url + ']');
}

function drawFile(name, bytes, url) {
  const path = own(url);
  return el('div', { class: 'file' }, '📄', el('div', {}, path ? el('a', { href: path, target: '_blank' }, name) : el('b', {}, name), el('small', {}, size(bytes || 0))));
}

function drawAttachment(a) {
  return isPicture(a) ? picture(a.url, a.description || a.filename, 'picture') : drawFile(a.filename, a.size, a.url);
}

function drawEmbed(e, c) {
  const box = el('div', { class: 'embed' });
  if (e.color) box.style.borderLeftColor = colour(e.color);
  if (e.author) box.append(el('div', { class: 'a' }, e.author.name));
  if (e.title) box.append(el('div', { class: 't' }, safeURL(e.url) ? el('a', { href: safeURL(e.url) }, e.title) : inline(e.title, c)));
  if (e.description) box.append(markdown(e.description, c));
  if (e.fields?.length) box.append(el('div', { class: 'fields' }, e.fields.map((f) => el('div', { class: f.inline ? 'in' : undefined }, el('b', {}, inline(f.name, c)), markdown(f.value, c)))));
  if (e.image) box.append(picture(e.image.url, ''));
  if (e.footer || e.timestamp) box.append(el('footer', {}, [e.footer?.text, e.timestamp && dateOf(e.timestamp)].filter(Boolean).join(' • ')));
  return box;
}

function drawButton(k, m) {
  if (k.style === 5) return el('button', { class: 'b b5', type: 'button', disabled: k.disabled, onclick: () => { const u = safeURL(k.url); if (u) window.open(u, '_blank', 'noopener'); } }, [k.emoji?.name, k.label].filter(Boolean).join(' ') + ' ↗');
  return el('button', {
    class: 'b b' + k.style, type: 'button', disabled: k.disabled, 'data-custom-id': k.custom_id,
    onclick: () => act({ do: 'click', message: m.id, custom_id: k.custom_id }),
  }, [k.emoji?.name, k.label].filter(Boolean).join(' '));
}

function optionsOf(k) {
  switch (k.type) {
    case 5: return state.users.map((u) => ({ value: u.id, label: display(u) }));
    case 6: return state.guilds.flatMap((g) => g.roles).map((r) => ({ value: r.id, label: r.name }));
    case 7: return [...state.users.map((u) => ({ value: u.id, label: display(u) })), ...state.guilds.flatMap((g) => g.roles).map((r) => ({ value: r.id, label: '@' + r.name }))];
    case 8: return allChannels().map((ch) => ({ value: ch.id, label: '#' + ch.name }));
    default: return k.options || [];
  }
}

function drawMenu(k, m) {
  const many = (k.max_values ?? 1) > 1;
  const list = optionsOf(k);
  const sel = el('select', {
    class: 'menu', multiple: many, disabled: k.disabled, 'data-custom-id': k.custom_id,
    onchange: () => { if (!many) act({ do: 'select', message: m.id, custom_id: k.custom_id, values: [sel.value] }); },
  }, many || list.some((o) => o.default) ? null : el('option', { value: '', disabled: true, selected: true }, k.placeholder || 'Make a selection'),
  list.map((o) => el('option', { value: o.value, selected: o.default }, o.label + (o.description ? ' — ' + o.description : ''))));
  if (!many) return sel;
  return el('span', {}, sel, ' ', el('button', { class: 'b b2', type: 'button', onclick: () => act({ do: 'select', message: m.id, custom_id: k.custom_id, values: [...sel.selectedOptions].map((o) => o.value) }) }, 'OK'));
}

function drawComponent(k, m, c) {
  switch (k.type) {
    case 1: return el('div', { class: 'buttons' }, k.components.map((x) => drawComponent(x, m, c)));
    case 2: return drawButton(k, m);
    case 3: case 5: case 6: case 7: case 8: return drawMenu(k, m);
    case 9: return el('div', { class: 'section' }, el('div', {}, k.components.map((x) => drawComponent(x, m, c))), drawComponent(k.accessory, m, c));
    case 10: return markdown(k.content, c);
    case 11: return picture(k.media.url, k.description, 'thumb');
    case 12: return el('div', { class: k.items.length > 1 ? 'gallery many' : 'gallery' }, k.items.map((i) => picture(i.media.url, i.description)));
    case 13: return drawFile(k.name || k.file.url, k.size, k.file.url);
    case 14: return el('hr', { class: [k.spacing === 2 ? 'large' : '', k.divider === false ? 'blank' : ''].join(' ').trim() || undefined });
    case 17: {
      const box = el('div', { class: k.accent_color !== undefined && k.accent_color !== null ? 'container accent' : 'container' }, k.components.map((x) => drawComponent(x, m, c)));
      if (k.accent_color !== undefined && k.accent_color !== null) {
        const bar = el('div', { class: 'bar' });
        bar.style.background = colour(k.accent_color);
        box.prepend(bar);
      }
      return box;
    }
    default: return el('div', { class: 'note' }, '[component of type ' + k.type + ']');
  }
}

// Context menu of a message: the app's message commands.
function contextMenu(e, m) {
  const menu = $('menu');
  menu.textContent = '';
  const list = commands().filter((x) => x.type === 3);
  for (const x of list) menu.append(el('div', { onclick: () => { menu.hidden = true; act({ do: 'message_command', name: x.name, message: m.id }); } }, 'Apps › ' + x.name));
  if (!list.length) menu.append(el('div', {}, 'The app has no message commands'));
  menu.hidden = false;
  menu.style.left = Math.min(e.clientX, innerWidth - 240) + 'px';
  menu.style.top = Math.min(e.clientY, innerHeight - 40 * (list.length + 1)) + 'px';
}
document.addEventListener('click', (e) => { if (!$('menu').contains(e.target) && !e.target.closest('.tools')) $('menu').hidden = true; });

// Modals.
function openModal({ modal, interaction }) {
  const box = $('modal');
  box.textContent = '';
  const readers = {};
  const rows = modal.components.map((k) => {
    if (k.type === 10) return el('div', { class: 'f' }, markdown(k.content, ctx()));
    const inner = k.type === 1 ? k.components[0] : k.component;
    const required = inner.required !== false;
    const field = modalInput(inner);
    readers[inner.custom_id] = field.read;
    return el('div', { class: 'f' }, el('label', {}, k.label || inner.label, required ? el('span', { class: 'req' }, ' *') : null),
      k.description ? el('small', {}, k.description) : null, field.node);
  });
  box.append(el('h2', {}, modal.title), ...rows, el('footer', {},
    el('button', { class: 'b b2', type: 'button', onclick: () => box.close() }, 'Cancel'),
    el('button', {
      class: 'b b1', type: 'button', onclick: async () => {
        const fields = {};
        for (const [id, read] of Object.entries(readers)) fields[id] = read();
        if (await act({ do: 'submit', interaction, fields })) box.close();
      },
    }, 'Submit')));
  box.showModal();
  box.querySelector('textarea,input,select')?.focus();
}

function modalInput(k) {
  if (k.type === 4) {
    const n = el(k.style === 2 ? 'textarea' : 'input', { value: k.value || '', placeholder: k.placeholder || '', maxLength: k.max_length || 4000 });
    return { node: n, read: () => [n.value] };
  }
  if (k.type === 23) {
    const n = el('input', { type: 'checkbox', checked: k.default });
    return { node: n, read: () => [String(n.checked)] };
  }
  if (k.type === 21 || k.type === 22) {
    const inputs = k.options.map((o) => [el('input', { type: k.type === 21 ? 'radio' : 'checkbox', name: k.custom_id, value: o.value, checked: o.default }), o.label]);
    return { node: el('div', {}, inputs.map(([i, l]) => el('label', {}, i, ' ' + l, el('br')))), read: () => inputs.filter(([i]) => i.checked).map(([i]) => i.value) };
  }
  const n = el('select', { multiple: (k.max_values ?? 1) > 1 }, k.required === false ? el('option', { value: '' }, '—') : null, optionsOf(k).map((o) => el('option', { value: o.value, selected: o.default }, o.label)));
  return { node: n, read: () => [...n.selectedOptions].map((o) => o.value).filter(Boolean) };
}

// Composing: plain messages, replies, edits, files, slash commands.
function showReply() {
  const box = $('replying');
  box.hidden = !replyTo && !editing && !files.length;
  box.textContent = editing ? 'Editing a message (Escape to leave)' : replyTo ? 'Replying to ' + display(replyTo.author) + ' (Escape to leave)' : files.map((f) => f.name).join(', ');
  $('text').focus();
}

function leaves(list, path, spec) {
  const subs = (spec || []).filter((o) => o.type <= 2);
  if (!subs.length) return [[path, spec || []]];
  return subs.flatMap((o) => leaves(list, [...path, o.name], o.options).map(([p, s]) => [p, s, o.description]));
}

function suggestCommands() {
  const text = $('text').value;
  const box = $('suggest');
  box.textContent = '';
  if (command || !text.startsWith('/')) { box.hidden = true; return; }
  for (const c of commands().filter((x) => x.type === 1)) {
    for (const [path, spec, description] of leaves([], [c.name], c.options)) {
      if (!('/' + path.join(' ')).startsWith(text.split(/\s+$/)[0]) && !text.startsWith('/' + path.join(' '))) continue;
      box.append(el('div', { onclick: () => choose(path, spec) }, '/' + path.join(' '), el('small', {}, description || c.description)));
    }
  }
  box.hidden = !box.children.length;
}

function choose(path, spec) {
  command = { path, spec, fields: {} };
  $('suggest').hidden = true;
  $('text').value = '';
  const box = $('options');
  box.textContent = '';
  box.append(el('span', { class: 'cmd' }, '/' + path.join(' ')));
  for (const o of spec) {
    let input;
    if (o.choices?.length) input = el('select', {}, o.required ? null : el('option', { value: '' }, '—'), o.choices.map((x) => el('option', { value: String(x.value) }, x.name)));
    else if (o.type === 5) input = el('select', {}, o.required ? null : el('option', { value: '' }, '—'), el('option', { value: 'true' }, 'True'), el('option', { value: 'false' }, 'False'));
    else if (o.type >= 6 && o.type <= 9) input = el('select', {}, o.required ? null : el('option', { value: '' }, '—'), optionsOf({ type: { 6: 5, 7: 8, 8: 6, 9: 7 }[o.type] }).map((x) => el('option', { value: x.value }, x.label)));
    else {
      input = el('input', { placeholder: o.description, title: o.description });
      if (o.autocomplete) input.addEventListener('input', () => complete(o, input));
      if (o.autocomplete) input.addEventListener('focus', () => complete(o, input));
    }
    input.addEventListener('keydown', (e) => { if (e.key === 'Enter') { e.preventDefault(); send(); } if (e.key === 'Escape') leave(); });
    command.fields[o.name] = { o, input };
    box.append(el('label', {}, o.name + (o.required ? '*: ' : ': '), input));
  }
  (box.querySelector('input,select') || $('text')).focus();
}

function optionValues() {
  const out = [];
  for (const { o, input } of Object.values(command.fields)) {
    const raw = input.dataset.value ?? input.value;
    if (raw === '') continue;
    out.push({ name: o.name, value: o.type === 4 || o.type === 10 ? Number(raw) : o.type === 5 ? raw === 'true' : raw });
  }
  return out;
}

let asked = 0;
async function complete(o, input) {
  delete input.dataset.value;
  const mine = ++asked;
  const options = optionValues().filter((x) => x.name !== o.name);
  options.push({ name: o.name, value: input.value });
  const r = await act({ do: 'autocomplete', name: command.path.join(' '), focused: o.name, options });
  if (!r || mine !== asked || !command) return;
  const box = $('suggest');
  box.textContent = '';
  for (const c of r.choices || []) {
    box.append(el('div', { onclick: () => { input.value = c.name; input.dataset.value = String(c.value); box.hidden = true; input.focus(); } }, c.name));
  }
  box.hidden = !box.children.length;
}

function leave() {
  command = null; replyTo = null; editing = null; files = [];
  $('options').textContent = '';
  $('text').value = '';
  $('suggest').hidden = true;
  showReply();
}

async function send() {
  const text = $('text').value;
  if (command) {
    const done = await act({ do: 'command', name: command.path.join(' '), options: optionValues() });
    if (done) leave();
  } else if (editing) {
    if (await act({ do: 'edit', message: editing.id, text })) leave();
  } else if (replyTo) {
    if (await act({ do: 'reply', message: replyTo.id, text })) leave();
  } else if (text.startsWith('/') && !$('suggest').hidden) {
    $('suggest').firstChild.click();
  } else if (text.trim() || files.length) {
    if (await act({ do: 'post', text: named(text), files })) leave();
  }
}

// @name becomes a mention, as Discord's client makes it.
function named(text) {
  return text.replace(/@([A-Za-z0-9_.-]+)/g, (all, name) => {
    const u = state.users.find((x) => x.name.toLowerCase() === name.toLowerCase());
    const r = state.guilds.flatMap((g) => g.roles).find((x) => x.name.toLowerCase() === name.toLowerCase());
    return u ? `<@${u.id}>` : r ? `<@&${r.id}>` : all;
  });
}

$('compose').addEventListener('submit', (e) => { e.preventDefault(); send(); });
$('text').addEventListener('input', suggestCommands);
$('text').addEventListener('keydown', (e) => { if (e.key === 'Escape') leave(); });
$('file').addEventListener('change', async (e) => {
  files = [];
  for (const f of e.target.files) {
    const bytes = new Uint8Array(await f.arrayBuffer());
    let text = '';
    for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
    files.push({ name: f.name, data: btoa(text) });
  }
  e.target.value = '';
  showReply();
});

// One reading at a time, and one more when something changed meanwhile.
let busy = false, again = false;
async function changed() {
  if (busy) { again = true; return; }
  busy = true;
  do {
    again = false;
    try { await refresh(); await draw(); } catch (e) { toast(e.message); }
  } while (again);
  busy = false;
}

function connect() {
  stream?.close();
  if (params.get('live') === '0') return; // a page that loads to its end, for screenshots
  stream = new EventSource('/page/events?' + new URLSearchParams({ user }));
  stream.onmessage = changed;
  stream.onopen = changed;
}

async function begin() {
  state = await get('/page/state', { user: '' });
  const wanted = params.get('user');
  user = (state.users.find((u) => u.id === wanted || u.name === wanted) || state.users.find((u) => !u.bot)).id;
  await refresh();
  const c = params.get('channel');
  const at = allChannels().find((x) => x.id === c || x.name === c)?.id || (c && (c === state.dm || c === 'dm') ? state.dm : null) || state.guilds[0]?.channels[0]?.id || state.dm;
  await open(at);
  connect();
  const press = params.get('click');
  if (press) {
    const all = [...document.querySelectorAll('[data-custom-id]')].filter((b) => b.dataset.customId === press);
    all[all.length - 1]?.click();
  }
}
begin().catch((e) => toast(e.message));
