// The page on which one person plays several users. All text from a bot or a
// user becomes text nodes, never markup.
'use strict';

const query = new URLSearchParams(location.search);
let state = JSON.parse(document.getElementById('state').textContent);
const ui = { user: state.me, channel: query.get('channel') || '', thread: query.get('thread') || '', tab: query.get('view') || '', old: '' };
const $ = (id) => document.getElementById(id);

// el makes an element: properties starting with "on" are listeners, "class"
// and "data-…" attributes, and children strings or nodes.
function el(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name in node && name !== 'list' && !name.includes('-')) node[name] = value;
    else node.setAttribute(name, value);
  }
  if (props && props.class) node.className = props.class;
  node.append(...children.flat(3).filter((c) => c !== null && c !== undefined && c !== ''));
  return node;
}

function toast(text) {
  const node = el('div', { class: 'toast' }, text);
  $('toasts').append(node);
  setTimeout(() => node.remove(), 6000);
}

async function act(what) {
  const answer = await fetch('page/act', {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ user: ui.user, ...what }),
  });
  const result = answer.ok ? await answer.json() : { ok: false, error: await answer.text() };
  if (!result.ok) toast(result.error);
  return result.ok;
}

// ---- text -------------------------------------------------------------------

const emoji = {
  white_check_mark: '✅', heavy_check_mark: '✔️', x: '❌', warning: '⚠️', eyes: '👀', hourglass: '⌛', hourglass_flowing_sand: '⏳', stop_sign: '🛑',
  octagonal_sign: '🛑', rotating_light: '🚨', mag: '🔍', lock: '🔒', unlock: '🔓', key: '🔑', arrows_counterclockwise: '🔄', repeat: '🔁', bar_chart: '📊',
  chart_with_upwards_trend: '📈', floppy_disk: '💾', pencil2: '✏️', no_entry: '⛔', no_entry_sign: '🚫', red_circle: '🔴', large_green_circle: '🟢',
  large_yellow_circle: '🟡', large_blue_circle: '🔵', white_circle: '⚪', '+1': '👍', thumbsup: '👍', '-1': '👎', page_facing_up: '📄', tada: '🎉',
  information_source: 'ℹ️', memo: '📝', gear: '⚙️', mag_right: '🔎', bulb: '💡', clock1: '🕐', stopwatch: '⏱️', fire: '🔥', wave: '👋', robot_face: '🤖',
  shield: '🛡️', test_tube: '🧪', black_square_for_stop: '⏹️', arrow_forward: '▶️', speech_balloon: '💬', skull: '💀', boom: '💥', link: '🔗', bell: '🔔',
};

const unescapeText = (t) => t.replace(/&lt;/g, '<').replace(/&gt;/g, '>').replace(/&amp;/g, '&');
const name = (id) => (state.users[id] ? state.users[id].name : id);
const channelName = (id) => (state.channels.find((c) => c.id === id) || { name: id }).name;

function date(stamp, format) {
  const d = new Date(Number(stamp) * 1000);
  const pad = (n) => String(n).padStart(2, '0');
  const long = { year: 'numeric', month: 'long', day: 'numeric' };
  const minutes = Math.round((d - Date.now()) / 60000);
  const ago = Math.abs(minutes) < 60 ? `${Math.abs(minutes)} minutes` : `${Math.round(Math.abs(minutes) / 60)} hours`;
  const parts = {
    date_num: `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())}`, date: d.toLocaleDateString('en-US', long), date_pretty: d.toLocaleDateString('en-US', long),
    date_slash: `${pad(d.getMonth() + 1)}/${pad(d.getDate())}/${d.getFullYear()}`,
    date_short: d.toLocaleDateString('en-US', { ...long, month: 'short' }), date_short_pretty: d.toLocaleDateString('en-US', { ...long, month: 'short' }),
    date_long: d.toLocaleDateString('en-US', { ...long, weekday: 'long' }), date_long_pretty: d.toLocaleDateString('en-US', { ...long, weekday: 'long' }),
    time: d.toLocaleTimeString('en-US', { hour: 'numeric', minute: '2-digit' }),
    time_secs: d.toLocaleTimeString('en-US', { hour: 'numeric', minute: '2-digit', second: '2-digit' }),
    ago: minutes < 0 ? `${ago} ago` : `in ${ago}`,
  };
  return format.replace(/\{(\w+)\}/g, (whole, part) => parts[part] || whole);
}

function link(href, label) {
  if (!/^(https?:|mailto:)/i.test(href)) return label;
  return el('a', { href, target: '_blank', rel: 'noopener noreferrer nofollow' }, label);
}

// special is what stands between < and >.
function special(inner) {
  const [target, label] = inner.split(/\|(.*)/s);
  switch (target[0]) {
    case '@': return el('span', { class: target.slice(1) === ui.user ? 'mention me' : 'mention' }, '@' + name(target.slice(1)));
    case '#': return el('span', { class: 'mention' }, '#' + (label || channelName(target.slice(1))));
    case '!': {
      if (target.startsWith('!date^')) {
        const [, stamp, format, href] = target.split('^');
        const text = date(stamp, unescapeText(format || '{date}'));
        return el('span', { class: 'date', title: label ? unescapeText(label) : '' }, href ? link(href, text) : text);
      }
      if (target.startsWith('!subteam^')) return el('span', { class: 'mention me' }, '@' + (state.groups[target.split('^')[1]] || label || target.split('^')[1]));
      return el('span', { class: 'mention me' }, '@' + target.slice(1));
    }
    default: return link(unescapeText(target), unescapeText(label || target));
  }
}

// inlineText draws what has no block structure: links, emphasis, code, emoji.
function inlineText(text) {
  const out = [];
  const rules = [
    [/^<([^<>\n]+)>/, (m) => special(m[1])],
    [/^`([^`\n]+)`/, (m) => el('code', {}, unescapeText(m[1]))],
    [/^\*(?=\S)([^*\n]*[^*\s])\*(?![\w*])/, (m) => el('b', {}, inlineText(m[1]))],
    [/^_(?=\S)([^_\n]*[^_\s])_(?!\w)/, (m) => el('i', {}, inlineText(m[1]))],
    [/^~(?=\S)([^~\n]*[^~\s])~(?!\w)/, (m) => el('s', {}, inlineText(m[1]))],
    [/^:([a-z0-9_+-]+):/, (m) => (emoji[m[1]] ? el('span', { class: 'emoji', title: m[0] }, emoji[m[1]]) : m[0])],
  ];
  let plain = '';
  let at = 0;
  while (at < text.length) {
    const rest = text.slice(at);
    const before = at ? text[at - 1] : ' ';
    let hit = null;
    if ('<`:'.includes(rest[0]) || ('*_~'.includes(rest[0]) && !/\w/.test(before))) {
      for (const [pattern, make] of rules) {
        const m = pattern.exec(rest);
        if (m) { hit = [m, make]; break; }
      }
    }
    if (!hit) { plain += text[at++]; continue; }
    if (plain) out.push(unescapeText(plain));
    plain = '';
    out.push(hit[1](hit[0]));
    at += hit[0][0].length;
  }
  if (plain) out.push(unescapeText(plain));
  return out;
}

function lines(text, draw) {
  const out = [];
  text.split('\n').forEach((line, i) => { if (i) out.push(el('br')); out.push(draw(line)); });
  return out;
}

// mrkdwn draws Slack's own markup.
function mrkdwn(text) {
  const out = [];
  text.split(/```/).forEach((part, i, all) => {
    if (i % 2 && i < all.length - 1) { out.push(el('pre', {}, unescapeText(part.replace(/^\n|\n$/g, '')))); return; }
    if (i % 2) part = '```' + part;
    if (i && part.startsWith('\n')) part = part.slice(1);
    let quote = [];
    let plain = [];
    const flush = () => {
      if (quote.length) out.push(el('blockquote', {}, lines(quote.join('\n'), inlineText)));
      if (plain.length) out.push(el('span', {}, lines(plain.join('\n'), inlineText)));
      quote = []; plain = [];
    };
    for (const line of part.split('\n')) {
      const m = /^(?:&gt;|>) ?(.*)$/.exec(line);
      if (m ? plain.length : quote.length) flush();
      (m ? quote : plain).push(m ? m[1] : line);
    }
    flush();
  });
  return out;
}

const textObject = (t) => (!t ? [] : t.type === 'mrkdwn' ? mrkdwn(t.text) : lines(t.text, (l) => l.split(/(:[a-z0-9_+-]+:)/).map((p) => emoji[p.slice(1, -1)] && p.length > 2 ? emoji[p.slice(1, -1)] : p)));

// markdown draws a markdown block: headings, lists, code, quotes, emphasis.
function markdown(text) {
  const span = (t) => t.split(/(`[^`]+`|\*\*[^*]+\*\*|\*[^*]+\*|_[^_]+_|~~[^~]+~~|\[[^\]]+\]\([^)]+\))/).map((p) => {
    if (/^`.+`$/.test(p)) return el('code', {}, p.slice(1, -1));
    if (/^\*\*.+\*\*$/.test(p)) return el('b', {}, p.slice(2, -2));
    if (/^~~.+~~$/.test(p)) return el('s', {}, p.slice(2, -2));
    if (/^(\*.+\*|_.+_)$/.test(p)) return el('i', {}, p.slice(1, -1));
    const m = /^\[([^\]]+)\]\(([^)]+)\)$/.exec(p);
    return m ? link(m[2], m[1]) : p;
  });
  const out = [];
  text.split(/^```.*$/m).forEach((part, i, all) => {
    if (i % 2 && i < all.length - 1) { out.push(el('pre', {}, part.replace(/^\n|\n$/g, ''))); return; }
    for (const line of part.split('\n')) {
      const heading = /^(#{1,6}) (.*)$/.exec(line);
      const item = /^\s*([-*]|\d+\.) (.*)$/.exec(line);
      if (heading) out.push(el('div', { class: 'md-heading' }, span(heading[2])));
      else if (item) out.push(el('div', { class: 'md-item' }, (item[1].length > 1 ? item[1] : '•') + ' ', span(item[2])));
      else if (line.trim()) out.push(el('div', {}, span(line)));
    }
  });
  return out;
}

// ---- rich text ----------------------------------------------------------------

function richPiece(p) {
  let node;
  switch (p.type) {
    case 'text': node = el('span', {}, lines(p.text, (l) => l)); break;
    case 'link': node = el('span', {}, link(p.url, p.text || p.url)); break;
    case 'user': node = special('@' + p.user_id); break;
    case 'usergroup': node = special('!subteam^' + p.usergroup_id); break;
    case 'channel': node = special('#' + p.channel_id); break;
    case 'broadcast': node = special('!' + p.range); break;
    case 'emoji': node = el('span', { class: 'emoji' }, emoji[p.name] || ':' + p.name + ':'); break;
    case 'date': node = el('span', { class: 'date', title: p.fallback || '' }, date(p.timestamp, p.format)); break;
    default: node = el('span', { class: 'unknown' }, p.type);
  }
  const style = p.style || {};
  if (style.code) node = el('code', {}, node);
  if (style.bold) node = el('b', {}, node);
  if (style.italic) node = el('i', {}, node);
  if (style.strike) node = el('s', {}, node);
  return node;
}

function richElement(e) {
  const pieces = (e.elements || []);
  switch (e.type) {
    case 'rich_text_preformatted': return el('pre', {}, pieces.map((p) => p.text || p.url || ''));
    case 'rich_text_quote': return el('blockquote', {}, pieces.map(richPiece));
    case 'rich_text_list': return el(e.style === 'ordered' ? 'ol' : 'ul', { style: '', class: 'indent' + (e.indent || 0), start: (e.offset || 0) + 1 }, pieces.map((i) => el('li', {}, (i.elements || []).map(richPiece))));
    default: return el('div', {}, pieces.map(richPiece));
  }
}

// ---- blocks ---------------------------------------------------------------------

// use is what happens when an element is used: use(name, values chosen). An
// element's name is its block's id and its action id.
function element(e, use, form, inBlock) {
  const id = `${inBlock}\u001f${e.action_id}`;
  const confirmed = (go) => () => {
    const c = e.confirm;
    if (!c || window.confirm(`${c.title.text}\n\n${c.text.text}`)) go();
  };
  const choose = (...values) => confirmed(() => use && use(id, values))();
  const options = [...(e.options || []), ...(e.option_groups || []).flatMap((g) => g.options)];
  const chosen = new Set([e.initial_option, ...(e.initial_options || [])].filter(Boolean).map((o) => o.value));
  const keep = (read) => { if (form) form.push([id, read]); };
  const picker = (entries, multiple, initial) => {
    const node = el('select', { multiple, class: 'select', 'aria-label': (e.placeholder || { text: e.action_id }).text });
    if (!multiple) node.append(el('option', { value: '' }, (e.placeholder || { text: 'Choose…' }).text));
    for (const [value, label] of entries) node.append(el('option', { value, selected: initial.has(value) }, label));
    const read = () => [...node.selectedOptions].map((o) => o.value).filter(Boolean);
    node.addEventListener('change', () => choose(...read()));
    keep(read);
    return node;
  };
  switch (e.type) {
    case 'button':
      if (e.url) return el('a', { class: 'button ' + (e.style || ''), href: /^https?:/.test(e.url) ? e.url : '#', target: '_blank', rel: 'noopener', onclick: confirmed(() => use && use(id, [])) }, textObject(e.text));
      return el('button', { type: 'button', class: 'button ' + (e.style || ''), title: e.accessibility_label, onclick: confirmed(() => use && use(id, [])) }, textObject(e.text));
    case 'image': return el('img', { class: 'accessory', src: picture(e), alt: e.alt_text });
    case 'static_select': case 'multi_static_select': case 'external_select':
      return picker(options.map((o) => [o.value, o.text.text]), e.type.startsWith('multi'), chosen);
    case 'overflow': {
      const node = el('select', { class: 'overflow', 'aria-label': 'More' }, el('option', { value: '' }, '⋯'), options.map((o) => el('option', { value: o.value }, o.text.text)));
      node.addEventListener('change', () => { if (node.value) choose(node.value); node.value = ''; });
      return node;
    }
    case 'users_select': case 'multi_users_select':
      return picker(Object.keys(state.users).map((id) => [id, '@' + name(id)]), e.type.startsWith('multi'), new Set([e.initial_user, ...(e.initial_users || [])]));
    case 'conversations_select': case 'channels_select': case 'multi_conversations_select': case 'multi_channels_select':
      return picker(state.channels.map((c) => [c.id, '#' + (c.name || 'direct messages')]), e.type.startsWith('multi'),
        new Set([e.initial_channel, e.initial_conversation, ...(e.initial_channels || []), ...(e.initial_conversations || [])]));
    case 'checkboxes': case 'radio_buttons': {
      const group = 'g' + Math.random();
      const boxes = options.map((o) => [el('input', { type: e.type === 'checkboxes' ? 'checkbox' : 'radio', name: group, value: o.value, checked: chosen.has(o.value) }), o]);
      const read = () => boxes.filter(([b]) => b.checked).map(([b]) => b.value);
      boxes.forEach(([b]) => b.addEventListener('change', () => choose(...read())));
      keep(read);
      return el('div', { class: 'boxes' }, boxes.map(([b, o]) => el('label', {}, b, ' ', textObject(o.text), o.description ? el('span', { class: 'hint' }, textObject(o.description)) : '')));
    }
    case 'plain_text_input': case 'email_text_input': case 'url_text_input': case 'number_input': case 'datepicker': case 'timepicker': {
      const kinds = { email_text_input: 'email', url_text_input: 'url', number_input: 'number', datepicker: 'date', timepicker: 'time' };
      const node = e.multiline ? el('textarea', { rows: 4 }) : el('input', { type: kinds[e.type] || 'text' });
      if (e.is_decimal_allowed) node.step = 'any';
      if (e.placeholder) node.placeholder = e.placeholder.text;
      if (e.max_length) node.maxLength = e.max_length;
      node.value = e.initial_value || e.initial_date || e.initial_time || '';
      keep(() => [node.value]);
      if (e.type.endsWith('picker')) node.addEventListener('change', () => choose(node.value));
      return node;
    }
    default: return el('span', { class: 'unknown' }, e.type);
  }
}

function picture(e) {
  if (e.slack_file) return 'page/file/' + encodeURIComponent(e.slack_file.id || (e.slack_file.url || '').split('/').slice(-2)[0]);
  return /^https?:/.test(e.image_url || '') ? e.image_url : '';
}

function block(b, use, form, errors) {
  const attributes = { class: 'block ' + b.type, 'data-block': b.block_id };
  switch (b.type) {
    case 'header': return el('div', attributes, textObject(b.text));
    case 'divider': return el('hr', attributes);
    case 'section': return el('div', attributes,
      el('div', { class: 'body' }, b.text ? el('div', {}, textObject(b.text)) : '',
        b.fields ? el('div', { class: 'fields' }, b.fields.map((f) => el('div', {}, textObject(f)))) : ''),
      b.accessory ? element(b.accessory, use, form, b.block_id) : '');
    case 'context': return el('div', attributes, b.elements.map((e) => (e.type === 'image' ? el('img', { src: picture(e), alt: e.alt_text }) : el('span', {}, textObject(e)))));
    case 'actions': return el('div', attributes, b.elements.map((e) => element(e, use, form, b.block_id)));
    case 'image': return el('figure', attributes, b.title ? el('figcaption', {}, textObject(b.title)) : '', el('img', { src: picture(b), alt: b.alt_text }));
    case 'rich_text': return el('div', attributes, b.elements.map(richElement));
    case 'markdown': return el('div', attributes, markdown(b.text));
    case 'table': return el('table', attributes, b.rows.map((row, i) => el('tr', {}, row.map((c) => el(i ? 'td' : 'th', {}, c.type === 'rich_text' ? c.elements.map(richElement) : c.text)))));
    case 'input': {
      const error = (errors || {})[b.block_id];
      // Boxes have labels of their own.
      const wrapper = ['checkboxes', 'radio_buttons'].includes(b.element.type) ? 'div' : 'label';
      return el(wrapper, attributes, el('span', { class: 'label' }, textObject(b.label), b.optional ? el('span', { class: 'hint' }, ' (optional)') : ''),
        element(b.element, b.dispatch_action ? use : null, form, b.block_id), error ? el('span', { class: 'error' }, error) : '', b.hint ? el('span', { class: 'hint' }, textObject(b.hint)) : '');
    }
    default: return el('div', { class: 'unknown' }, `a block of type ${b.type}`);
  }
}

// ---- messages ---------------------------------------------------------------------

const colours = ['#4a154b', '#0b5cad', '#117a65', '#b9770e', '#943126', '#5b2c6f', '#1a5276', '#616a6b'];
function avatar(id) {
  const n = [...id].reduce((a, c) => (a * 31 + c.charCodeAt(0)) >>> 0, 7);
  const node = el('span', { class: 'avatar', 'aria-hidden': 'true' }, name(id) === state.app.name && id === state.app.user ? 'k' : name(id)[0].toUpperCase());
  node.style.background = id === state.app.user ? '#1d9bd1' : colours[n % colours.length];
  return node;
}

const clock = (ts) => new Date(parseFloat(ts) * 1000).toLocaleTimeString('en-US', { hour: 'numeric', minute: '2-digit' });
const size = (n) => (n < 1024 ? `${n} B` : n < 1 << 20 ? `${Math.round(n / 1024)} kB` : `${(n / 1048576).toFixed(1)} MB`);

function file(f) {
  if (f.deleted) return el('div', { class: 'file' }, 'This file was deleted.');
  const address = 'page/file/' + encodeURIComponent(f.id);
  const head = el('div', { class: 'file-head' }, el('a', { href: address, target: '_blank' }, f.title), el('span', { class: 'hint' }, ` ${f.name} · ${size(f.size)}`));
  if (f.mime.startsWith('image/')) return el('div', { class: 'file picture' }, head, el('img', { src: address, alt: f.alt || f.title }));
  return el('div', { class: 'file' }, head, f.preview ? el('pre', {}, f.preview) : '');
}

function content(version, use) {
  const blocks = version.blocks || [];
  const attached = (version.attachments || []).map((a) => {
    const node = el('div', { class: 'attachment' }, a.pretext ? mrkdwn(a.pretext) : '', a.title ? el('b', {}, a.title) : '', a.text ? el('div', {}, mrkdwn(a.text)) : '',
      (a.blocks || []).map((b) => block(b, use)));
    if (/^#?[0-9a-f]{6}$/i.test(a.color || '')) node.style.borderLeftColor = '#' + a.color.replace('#', '');
    return node;
  });
  return [blocks.length ? blocks.map((b) => block(b, use)) : version.text ? el('div', { class: 'block plain' }, mrkdwn(version.text)) : '', attached];
}

function menu(m, channel) {
  if (m.to) return '';
  const own = m.user === ui.user;
  const node = el('select', { class: 'menu', 'aria-label': 'Message menu' }, el('option', { value: '' }, '⋯'),
    state.shortcuts.map((s) => el('option', { value: 'shortcut ' + s.CallbackID }, `${s.Name} · ${state.app.name}`)),
    el('option', { value: 'thread' }, 'Reply in thread'), el('option', { value: 'react' }, 'Add 👀'),
    own && m.user !== state.app.user ? [el('option', { value: 'edit' }, 'Edit…'), el('option', { value: 'delete' }, 'Delete')] : '',
    m.revisions.length > 1 ? el('option', { value: 'old' }, `Earlier versions (${m.revisions.length - 1})`) : '');
  node.addEventListener('change', () => {
    const at = { channel, ts: m.ts };
    const [what, id] = node.value.split(' ');
    node.value = '';
    if (what === 'shortcut') act({ do: 'shortcut', callback: id, ...at });
    if (what === 'thread') show({ thread: m.thread_ts || m.ts });
    if (what === 'react') act({ do: 'react', text: 'eyes', ...at });
    if (what === 'delete') act({ do: 'delete', ...at });
    if (what === 'old') { ui.old = ui.old === m.ts ? '' : m.ts; draw(); }
    if (what === 'edit') {
      const text = window.prompt('Edit the message', unescapeText(m.text));
      if (text) act({ do: 'edit', text: outgoing(text), ...at });
    }
  });
  return node;
}

function message(m, channel, inThread) {
  const user = state.users[m.user] || {};
  const use = (action, chosen) => act({ do: 'click', channel, ts: m.ts, action, chosen });
  const replies = !inThread && m.reply_count ? el('button', { type: 'button', class: 'replies', onclick: () => show({ thread: m.ts }) }, `${m.reply_count} ${m.reply_count === 1 ? 'reply' : 'replies'}`) : '';
  const old = ui.old === m.ts ? m.revisions.slice(0, -1).map((r, i) => el('div', { class: 'old' }, el('div', { class: 'hint' }, `version ${i + 1}: clicks here are those of a screen that is not up to date`),
    content(r, (action) => act({ do: 'stale', channel, ts: m.ts, revision: i, action })))) : '';
  return el('article', { class: 'message' + (m.to ? ' ephemeral' : ''), 'data-ts': m.ts }, avatar(m.user),
    el('div', { class: 'content' },
      m.to ? el('div', { class: 'only-you' }, '👁 Only visible to you') : '',
      el('div', { class: 'who' }, el('b', {}, user.real || name(m.user)), user.bot ? el('span', { class: 'badge' }, 'APP') : '', user.guest ? el('span', { class: 'badge' }, 'GUEST') : '',
        user.foreign ? el('span', { class: 'badge' }, 'EXTERNAL') : '', el('time', { title: m.ts }, clock(m.ts))),
      content(m, use), (m.files || []).map(file),
      m.edited && !(m.blocks || []).length ? el('span', { class: 'hint' }, ' (edited)') : '',
      m.reactions ? el('div', { class: 'reactions' }, m.reactions.map((r) => el('span', {}, `${emoji[r.name] || ':' + r.name + ':'} ${r.count}`))) : '', replies, old),
    menu(m, channel));
}

// ---- writing ------------------------------------------------------------------------

// outgoing makes typed text what Slack's client sends: escaped, with mentions.
function outgoing(text) {
  text = text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
  return text.replace(/@([\w.-]+)/g, (whole, who) => {
    const id = Object.keys(state.users).find((u) => state.users[u].name === who);
    const group = Object.keys(state.groups).find((g) => state.groups[g] === who);
    return id ? `<@${id}>` : group ? `<!subteam^${group}>` : ['here', 'channel', 'everyone'].includes(who) ? `<!${who}>` : whole;
  });
}

function composer(channel, thread, label) {
  const box = el('textarea', { rows: 2, placeholder: label, 'aria-label': label, 'data-keep': `${channel} ${thread}` });
  const send = async () => {
    const text = box.value.trim();
    if (!text) return;
    const command = /^(\/\S+)\s*(.*)$/s.exec(text);
    const ok = await act(command ? { do: 'slash', channel, thread, command: command[1], text: command[2] } : { do: 'post', channel, thread, text: outgoing(text) });
    if (ok) box.value = '';
  };
  box.addEventListener('keydown', (e) => { if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) { e.preventDefault(); send(); } });
  return el('div', { class: 'composer' }, box, el('button', { type: 'button', class: 'button primary', onclick: send }, 'Send'));
}

// ---- the parts of the page -------------------------------------------------------------

function show(change) {
  Object.assign(ui, change);
  const q = new URLSearchParams(location.search);
  for (const key of ['user', 'channel', 'thread']) { if (ui[key]) q.set(key, ui[key]); else q.delete(key); }
  if (ui.tab) q.set('view', ui.tab); else q.delete('view');
  history.replaceState(null, '', '?' + q);
  if ('user' in change) refresh(); else draw();
}

function side() {
  const item = (label, active, onclick, extra) => el('button', { type: 'button', class: 'item' + (active ? ' active' : ''), onclick }, label, extra || '');
  const channels = state.channels.filter((c) => c.kind !== 'im');
  return [
    el('h1', {}, state.team),
    el('h2', {}, 'You are'),
    state.players.map((id) => item([avatar(id), ' ', state.users[id].real], id === ui.user, () => show({ user: id, channel: '', thread: '', tab: '' }))),
    el('h2', {}, 'Channels'),
    channels.map((c) => item(`${c.kind === 'group' ? '🔒' : '#'} ${c.name}`, c.id === ui.channel && !ui.tab, () => show({ channel: c.id, thread: '', tab: '' }), c.shared ? el('span', { class: 'badge' }, 'shared') : '')),
    el('h2', {}, 'Apps'),
    item([avatar(state.app.user), ' ', state.app.name, ' messages'], ui.tab === 'dm', () => show({ channel: state.im || '', thread: '', tab: 'dm' })),
    item('⌂ Home', ui.tab === 'home', () => { show({ tab: 'home', thread: '' }); act({ do: 'home' }); }),
    faults(),
  ];
}

function faults() {
  const inject = (label, fault) => el('button', { type: 'button', class: 'small', onclick: () => act({ do: 'fault', fault }) }, label);
  const now = (label, what) => el('button', { type: 'button', class: 'small', onclick: () => act(what) }, label);
  const custom = el('input', { type: 'text', placeholder: '{"On":"chat.update","Status":503,"Count":1}', 'aria-label': 'A fault as JSON', 'data-keep': 'fault' });
  const calls = [...state.calls].reverse().map((c) => el('div', { class: c.Error ? 'bad' : '' }, `${c.Method}${c.Error ? ' ' + c.Error : ''}`));
  const deliveries = [...state.deliveries].reverse().map((d) => el('div', { class: d.Acked ? '' : 'bad' }, `${d.On} #${d.Attempt} ${d.Acked ? Math.round(d.Took / 1e6) + ' ms' : d.Error || '…'}`));
  return el('details', { id: 'faults', open: Boolean(ui.faults), ontoggle: (e) => { ui.faults = e.target.open; } },
    el('summary', {}, state.url ? 'HTTP' : `${state.sockets} socket${state.sockets === 1 ? '' : 's'}`, state.faults.length ? ` · ${state.faults.length} faults` : ' · faults…'),
    el('div', { class: 'buttons' },
      now('disconnect: warning', { do: 'disconnect', reason: 'warning' }), now('disconnect: refresh', { do: 'disconnect', reason: 'refresh_requested' }),
      now('break sockets', { do: 'kill' }), now('half-open', { do: 'mute' }), now('expire triggers', { do: 'expire' }),
      inject('next click ×4', { On: 'interaction:block_actions', Redeliver: 3, Count: 1 }), inject('next event ×4', { On: 'event:*', Redeliver: 3, Count: 1 }),
      inject('warning in next click', { On: 'interaction:block_actions', Disconnect: 'warning', Count: 1 }),
      inject('429 × 5', { On: 'chat.*', Error: 'ratelimited', RetryAfter: 2e9, Count: 5 }), inject('503 × 3', { On: 'chat.*', Status: 503, Count: 3 }),
      inject('500 after the post', { On: 'chat.postMessage', Status: 500, AfterCommit: true, Count: 1 }), inject('post, no answer', { On: 'chat.postMessage', Drop: true, AfterCommit: true, Count: 1 }),
      inject('slow 5 s', { On: 'chat.*', Delay: 5e9, Count: 3 }), inject('token_revoked', { On: '*', Error: 'token_revoked' }), now('clear', { do: 'clearFaults' })),
    el('div', { class: 'composer' }, custom, el('button', { type: 'button', class: 'small', onclick: () => {
      try { act({ do: 'fault', fault: JSON.parse(custom.value) }); } catch (e) { toast(String(e)); }
    } }, 'inject')),
    state.faults.map((f) => el('div', { class: 'hint' }, JSON.stringify(Object.fromEntries(Object.entries(f).filter(([, v]) => v))))),
    el('h2', {}, 'Deliveries'), el('div', { class: 'log' }, deliveries), el('h2', {}, 'Calls'), el('div', { class: 'log' }, calls));
}

const wanted = (m) => !query.get('message') || m.ts === query.get('message');

function channelPane() {
  if (ui.tab === 'home') {
    const use = (action, chosen) => act({ do: 'clickView', home: true, action, chosen });
    return [el('header', {}, el('b', {}, `${state.app.name} · Home`)), el('div', { class: 'scroll home' }, state.home ? state.home.blocks.map((b) => block(b, use)) : el('p', { class: 'hint' }, 'The app has not published a Home yet.'))];
  }
  const c = state.channels.find((x) => x.id === ui.channel);
  if (!c && ui.tab === 'dm') {
    const box = el('textarea', { rows: 2, placeholder: `Message ${state.app.name}`, 'data-keep': 'dm' });
    return [el('header', {}, el('b', {}, state.app.name)), el('div', { class: 'scroll' }), el('div', { class: 'composer' }, box,
      el('button', { type: 'button', class: 'button primary', onclick: async () => { if (box.value && await act({ do: 'dm', text: outgoing(box.value) })) { await refresh(); show({ channel: state.im }); } } }, 'Send'))];
  }
  if (!c) return [el('header', {}, 'No channel')];
  const list = state.messages[c.id].filter((m) => !m.thread_ts || m.thread_ts === m.ts || m.subtype === 'thread_broadcast').filter(wanted);
  return [
    el('header', {}, el('b', {}, c.kind === 'im' ? state.app.name : '# ' + c.name), el('span', { class: 'hint' }, ' ' + (c.topic || '')),
      c.kind !== 'im' && !c.bot ? el('button', { type: 'button', class: 'small', onclick: () => act({ do: 'invite', channel: c.id }) }, `add ${state.app.name}`) : ''),
    el('div', { class: 'scroll' }, list.map((m) => message(m, c.id, false))),
    c.member && !c.archived ? composer(c.id, '', `Message ${c.kind === 'im' ? state.app.name : '#' + c.name}`) : el('p', { class: 'hint pad' }, c.archived ? 'archived' : 'You are not in this channel.'),
  ];
}

function threadPane() {
  const all = state.messages[ui.channel] || [];
  const root = all.find((m) => m.ts === ui.thread);
  const list = all.filter((m) => m.ts === ui.thread || m.thread_ts === ui.thread).filter(wanted);
  const c = state.channels.find((x) => x.id === ui.channel) || {};
  return [
    el('header', {}, el('b', {}, 'Thread'), el('span', { class: 'hint' }, ' # ' + (c.name || state.app.name)), el('button', { type: 'button', class: 'small', 'aria-label': 'Close the thread', onclick: () => show({ thread: '' }) }, '✕')),
    el('div', { class: 'scroll' }, root ? list.map((m) => message(m, ui.channel, true)) : el('p', { class: 'hint pad' }, 'This thread is gone.')),
    c.member && root ? composer(ui.channel, ui.thread, 'Reply…') : '',
  ];
}

function modalPane(v) {
  const form = [];
  const values = () => Object.fromEntries(form.map(([action, read]) => [action, read()]));
  const use = (action, chosen) => act({ do: 'clickView', action, chosen });
  return el('form', { class: 'dialog', role: 'dialog', onsubmit: (e) => { e.preventDefault(); act({ do: 'submit', values: values() }); } },
    el('header', {}, el('b', {}, (v.title || { text: '' }).text), el('button', { type: 'button', class: 'small', 'aria-label': 'Close', onclick: () => act({ do: 'close' }) }, '✕')),
    el('div', { class: 'scroll' }, v.blocks.map((b) => block(b, use, form, v.errors))),
    el('footer', {}, el('button', { type: 'button', class: 'button', onclick: () => act({ do: 'close' }) }, (v.close || { text: 'Cancel' }).text),
      v.submit ? el('button', { type: 'submit', class: 'button primary' }, v.submit.text) : ''));
}

// replace puts new children into a part of the page and keeps what was typed,
// what has the focus and, unless the reader was at the end, the scroll place.
function replace(parent, children) {
  const kept = {};
  let focus = '';
  parent.querySelectorAll('[data-keep]').forEach((n) => { kept[n.dataset.keep] = n.value; if (n === document.activeElement) focus = n.dataset.keep; });
  const scroll = parent.querySelector('.scroll');
  const place = scroll && scroll.scrollTop + scroll.clientHeight < scroll.scrollHeight - 40 ? scroll.scrollTop : -1;
  parent.replaceChildren(...children.flat(3).filter(Boolean));
  parent.querySelectorAll('[data-keep]').forEach((n) => { if (kept[n.dataset.keep]) n.value = kept[n.dataset.keep]; if (n.dataset.keep === focus) n.focus(); });
  const now = parent.querySelector('.scroll');
  if (now && !parent.classList.contains('still')) now.scrollTop = place >= 0 ? place : now.scrollHeight;
}

let modalShown = '';
let noticed = state.notices.length;
function draw() {
  if (!ui.channel && ui.tab !== 'dm') ui.channel = (state.channels.find((c) => c.member && c.kind !== 'im') || { id: '' }).id;
  if (ui.tab === 'dm' && state.im) ui.channel = state.im;
  const bare = document.documentElement.classList.contains('bare');
  if (!bare) replace($('side'), side());
  replace($('channel'), channelPane());
  $('channel').hidden = bare && Boolean(ui.thread);
  $('thread').hidden = !ui.thread;
  if (ui.thread) replace($('thread'), threadPane());
  // A modal is drawn anew only when the app changed it: there is typing in it.
  const modal = state.modal ? state.modal.hash + JSON.stringify(state.modal.errors) : '';
  if (modal !== modalShown) {
    modalShown = modal;
    $('modal').replaceChildren(...(state.modal ? [modalPane(state.modal)] : []));
    $('modal').hidden = !state.modal;
    const first = $('modal').querySelector('input, textarea, select');
    if (first) first.focus();
  }
  state.notices.slice(noticed).forEach((n) => toast(n.Text));
  noticed = state.notices.length;
}

let busy = false;
let again = false;
async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    const answer = await fetch('page/state?user=' + encodeURIComponent(ui.user));
    const next = await answer.json();
    if (next.me !== state.me) noticed = next.notices.length;
    state = next;
    draw();
  } finally {
    busy = false;
    if (again) { again = false; refresh(); }
  }
}

draw();
// A page that is only drawn once, as for a screenshot, follows no changes.
if (!query.get('still')) new EventSource('page/changes').addEventListener('message', refresh);
