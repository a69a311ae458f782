// Holds payloads against discord-api-types: reads {"payloads":[{name,type,json}]}
// from the file named by PAYLOADS, and prints one line of JSON for each payload
// that does not fit.
'use strict';
const ts = require('typescript');
const fs = require('fs');
const path = require('path');

const { payloads } = JSON.parse(fs.readFileSync(process.env.PAYLOADS, 'utf8'));
const types = [...new Set(payloads.map((p) => p.type))];
const unknown = types.filter((t) => !/^[A-Za-z0-9]+$/.test(t));
if (unknown.length) throw new Error('not the name of a type: ' + unknown.join(', '));

// One file for all, so that the compiler loads the types once. Literals keep
// their literal types because each is written where its type is expected.
const file = path.join(__dirname, 'payloads.ts');
const lines = ["import type { " + types.join(', ') + " } from 'discord-api-types/v10';"];
const owner = [-1];
payloads.forEach((p, i) => {
  lines.push(`export const p${i}: ${p.type} = ${JSON.stringify(JSON.parse(p.json))};`);
  owner.push(i);
});
const source = lines.join('\n');
const options = { strict: true, noEmit: true, skipLibCheck: true, target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.Node16, moduleResolution: ts.ModuleResolutionKind.Node16, types: [] };
const host = ts.createCompilerHost(options);
const { getSourceFile, fileExists, readFile } = host;
host.getSourceFile = (name, lang, ...rest) => (path.resolve(name) === file ? ts.createSourceFile(name, source, lang) : getSourceFile.call(host, name, lang, ...rest));
host.fileExists = (name) => path.resolve(name) === file || fileExists.call(host, name);
host.readFile = (name) => (path.resolve(name) === file ? source : readFile.call(host, name));

const program = ts.createProgram([file], options, host);
for (const d of ts.getPreEmitDiagnostics(program)) {
  const where = d.file && path.resolve(d.file.fileName) === file ? owner[d.file.getLineAndCharacterOfPosition(d.start).line] : -1;
  console.log(JSON.stringify({ index: where, problem: ts.flattenDiagnosticMessageText(d.messageText, '\n') }));
}
