// Discord's markdown, as far as cards use it, to DOM nodes. Text becomes text
// nodes only: nothing in a message is ever parsed as HTML.
'use strict';

function el(tag, props, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props || {})) {
    if (v === undefined || v === null || v === false) continue;
    if (k.startsWith('on')) e.addEventListener(k.slice(2), v);
    else if (k === 'class' || k === 'title' || k.startsWith('data-') || k.startsWith('aria-')) e.setAttribute(k, v);
    else e[k] = v;
  }
  for (const c of children.flat(Infinity)) if (c !== null && c !== undefined && c !== false) e.append(c);
  return e;
}

// A link only where it can only be a link.
function safeURL(u) {
  try {
    const p = new URL(u);
    return p.protocol === 'http:' || p.protocol === 'https:' ? p.href : null;
  } catch { return null; }
}

function relative(seconds, now) {
  const d = seconds - now;
  const a = Math.abs(d);
  const units = [[60, 1, 'second'], [3600, 60, 'minute'], [86400, 3600, 'hour'], [2592000, 86400, 'day'], [31536000, 2592000, 'month'], [Infinity, 31536000, 'year']];
  const [, size, name] = units.find(([limit]) => a < limit);
  const n = Math.round(a / size);
  const words = n === 1 ? (name === 'hour' ? 'an hour' : 'a ' + name) : n + ' ' + name + 's';
  if (a < 5) return 'now';
  return d >= 0 ? 'in ' + words : words + ' ago';
}

function timestamp(seconds, style, now) {
  const d = new Date(seconds * 1000);
  const f = (o) => new Intl.DateTimeFormat('en-GB', { timeZone: 'UTC', ...o }).format(d);
  switch (style) {
    case 'R': return relative(seconds, now);
    case 't': return f({ timeStyle: 'short' });
    case 'T': return f({ timeStyle: 'medium' });
    case 'd': return f({ dateStyle: 'short' });
    case 'D': return f({ dateStyle: 'long' });
    case 'F': return f({ dateStyle: 'full', timeStyle: 'short' });
    default: return f({ dateStyle: 'long', timeStyle: 'short' });
  }
}

// ctx: {user(id), role(id), channel(id), now} where each function gives a
// name or undefined.
function inline(text, ctx) {
  const out = [];
  let plain = '';
  const flush = () => { if (plain) out.push(plain); plain = ''; };
  const put = (node) => { flush(); out.push(node); };
  const rules = [
    [/^\\([^A-Za-z0-9\s])/, (m) => { plain += m[1]; }],
    [/^(`+)([^]*?[^`])\1(?!`)/, (m) => put(el('code', {}, m[2].trim() || m[2]))],
    [/^<t:(-?\d{1,13})(?::([tTdDfFR]))?>/, (m) => put(el('time', { title: timestamp(+m[1], 'F', ctx.now) }, timestamp(+m[1], m[2] || 'f', ctx.now)))],
    [/^<@!?(\d+)>/, (m) => put(el('span', { class: 'mention' }, '@' + (ctx.user(m[1]) || 'unknown-user')))],
    [/^<@&(\d+)>/, (m) => put(el('span', { class: 'mention' }, '@' + (ctx.role(m[1]) || 'unknown-role')))],
    [/^<#(\d+)>/, (m) => put(el('span', { class: 'mention' }, '#' + (ctx.channel(m[1]) || 'unknown')))],
    [/^<\/([^:>]+):(\d+)>/, (m) => put(el('span', { class: 'mention' }, '/' + m[1]))],
    [/^@(everyone|here)\b/, (m) => put(el('span', { class: 'mention' }, m[0]))],
    [/^\[((?:[^\[\]\\]|\\.)+)\]\((https?:\/\/[^\s)]+)\)/, (m) => { const u = safeURL(m[2]); u ? put(el('a', { href: u, rel: 'noreferrer noopener', target: '_blank' }, inline(m[1], ctx))) : (plain += m[0]); }],
    [/^<(https?:\/\/[^\s>]+)>/, (m) => { const u = safeURL(m[1]); u ? put(el('a', { href: u, rel: 'noreferrer noopener', target: '_blank' }, m[1])) : (plain += m[0]); }],
    [/^https?:\/\/[^\s<]+[^\s<.,:;"')\]]/, (m) => { const u = safeURL(m[0]); u ? put(el('a', { href: u, rel: 'noreferrer noopener', target: '_blank' }, m[0])) : (plain += m[0]); }],
    [/^\*\*([^]+?)\*\*(?!\*)/, (m) => put(el('strong', {}, inline(m[1], ctx)))],
    [/^__([^]+?)__(?!_)/, (m) => put(el('u', {}, inline(m[1], ctx)))],
    [/^~~([^]+?)~~/, (m) => put(el('s', {}, inline(m[1], ctx)))],
    [/^\|\|([^]+?)\|\|/, (m) => put(el('span', { class: 'spoiler', tabIndex: 0, onclick: (e) => e.currentTarget.classList.add('open') }, inline(m[1], ctx)))],
    [/^\*(?!\s)([^*]+?)\*(?!\*)/, (m) => put(el('em', {}, inline(m[1], ctx)))],
    [/^_(?!\s)([^_]+?)_(?![A-Za-z0-9_])/, (m) => put(el('em', {}, inline(m[1], ctx)))],
    [/^\n/, () => put(el('br'))],
  ];
  let rest = text;
  let wordBefore = false;
  outer: while (rest) {
    for (const [re, act] of rules) {
      const m = re.exec(rest);
      if (!m || (m[0][0] === '_' && m[0][1] !== '_' && wordBefore)) continue;
      act(m);
      wordBefore = /[A-Za-z0-9]$/.test(m[0]);
      rest = rest.slice(m[0].length);
      continue outer;
    }
    const ch = String.fromCodePoint(rest.codePointAt(0));
    plain += ch;
    wordBefore = /[A-Za-z0-9]/.test(ch);
    rest = rest.slice(ch.length);
  }
  flush();
  return out;
}

// Colours for ANSI code blocks, the only ones that Discord draws.
const ansi = { 30: '#4f545c', 31: '#dc322f', 32: '#859900', 33: '#b58900', 34: '#268bd2', 35: '#d33682', 36: '#2aa198', 37: '#fff' };

function codeBlock(lang, body) {
  const code = el('code');
  if (lang !== 'ansi') {
    code.append(body);
  } else {
    let bold = false, colour = null;
    for (const part of body.split(/(\x1b\[[0-9;]*m)/)) {
      const m = /^\x1b\[([0-9;]*)m$/.exec(part);
      if (!m) { code.append(el('span', { style: `color:${colour || 'inherit'};font-weight:${bold ? 700 : 400}` }, part)); continue; }
      for (const n of m[1].split(';').map(Number)) {
        if (n === 0) { bold = false; colour = null; } else if (n === 1) bold = true; else if (ansi[n]) colour = ansi[n];
      }
    }
  }
  return el('pre', lang ? { 'data-lang': lang } : {}, code);
}

// highlights C a little, as Discord does for ```c.
function highlight(code, lang) {
  if (!['c', 'cpp', 'h'].includes(lang)) return;
  const text = code.textContent;
  code.textContent = '';
  const re = /(\/\/[^\n]*|\/\*[^]*?\*\/)|("(?:[^"\\\n]|\\.)*")|(#\s*\w+)|\b(if|else|for|while|return|struct|static|const|int|char|void|long|unsigned|sizeof|__u\d+|u\d+|bool|switch|case|break|continue|goto|enum|union|typedef)\b|\b(0x[0-9a-fA-F]+|\d+)\b/g;
  let at = 0;
  for (let m; (m = re.exec(text));) {
    code.append(text.slice(at, m.index));
    code.append(el('span', { class: m[1] ? 'hc' : m[2] ? 'hs' : m[3] ? 'hm' : m[4] ? 'hk' : 'hn' }, m[0]));
    at = m.index + m[0].length;
  }
  code.append(text.slice(at));
}

function markdown(text, ctx) {
  const root = el('div', { class: 'md' });
  const parts = text.split(/(```(?:[A-Za-z0-9_+.-]*\n)?[^]*?```)/);
  for (const part of parts) {
    const fence = /^```(?:([A-Za-z0-9_+.-]*)\n)?([^]*?)\n?```$/.exec(part);
    if (fence && fence[2].trim()) {
      const pre = codeBlock(fence[1] || '', fence[2]);
      highlight(pre.firstChild, fence[1]);
      root.append(pre);
      continue;
    }
    blocks(part, ctx, root);
  }
  return root;
}

function blocks(text, ctx, root) {
  const lines = text.replace(/^\n/, '').replace(/\n$/, '').split('\n');
  if (lines.length === 1 && lines[0] === '') return;
  let para = [];
  const flush = () => { if (para.length) root.append(el('p', {}, inline(para.join('\n'), ctx))); para = []; };
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i];
    let m;
    if ((m = /^(#{1,3}) +(.+)/.exec(line))) {
      flush();
      root.append(el('h' + m[1].length, {}, inline(m[2], ctx)));
    } else if ((m = /^-# +(.+)/.exec(line))) {
      flush();
      root.append(el('small', {}, inline(m[1], ctx)));
    } else if (/^>>> /.test(line)) {
      flush();
      const q = el('blockquote');
      blocks([line.slice(4), ...lines.slice(i + 1)].join('\n'), ctx, q);
      root.append(q);
      return;
    } else if (/^> /.test(line)) {
      flush();
      const q = [];
      while (i < lines.length && /^> /.test(lines[i])) q.push(lines[i++].slice(2));
      i--;
      const b = el('blockquote');
      blocks(q.join('\n'), ctx, b);
      root.append(b);
    } else if ((m = /^( *)([-*]|\d+\.) +(.+)/.exec(line))) {
      flush();
      const list = el(/\d/.test(m[2]) ? 'ol' : 'ul', /\d/.test(m[2]) ? { start: parseInt(m[2], 10) } : {});
      while (i < lines.length && (m = /^( *)([-*]|\d+\.) +(.+)/.exec(lines[i]))) {
        list.append(el('li', { class: m[1].length >= 2 ? 'deep' : undefined }, inline(m[3], ctx)));
        i++;
      }
      i--;
      root.append(list);
    } else {
      para.push(line);
    }
  }
  flush();
}
