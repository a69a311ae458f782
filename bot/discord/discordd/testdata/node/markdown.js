// Draws markdown with the page's own code over a document that only records,
// and prints for each text of TEXTS the tags and texts that came out.
'use strict';
const fs = require('fs');
const vm = require('vm');

class Element {
  constructor(tag) { this.tag = tag; this.kids = []; this.attributes = {}; this.classList = { add() {} }; }
  setAttribute(k, v) { this.attributes[k] = v; }
  addEventListener() {}
  append(...kids) { this.kids.push(...kids); }
  get firstChild() { return this.kids[0]; }
  get textContent() { return this.kids.map((k) => (typeof k === 'string' ? k : k.textContent)).join(''); }
  set textContent(t) { this.kids = t ? [t] : []; }
  set innerHTML(t) { throw new Error('innerHTML: ' + t); }
}
const page = { document: { createElement: (tag) => new Element(tag) }, URL, Intl, Date, Map, Set };
vm.createContext(page);
vm.runInContext(fs.readFileSync(process.env.PAGE, 'utf8'), page);

const show = (n) => (typeof n === 'string' ? n : `<${n.tag}${n.href ? ' ' + n.href : ''}>${n.kids.map(show).join('')}</${n.tag}>`);
const ctx = { now: 1000000, user: (id) => (id === '1' ? 'alice' : undefined), role: () => undefined, channel: () => undefined };
for (const text of JSON.parse(process.env.TEXTS)) console.log(JSON.stringify(page.markdown(text, ctx).kids.map(show).join('')));
