// Checks manifests of Kubernetes, as files of YAML, against the types and schemas
// that its API publishes: types and required fields by the schemas, and fields
// that do not exist by TypeScript's types, since the schemas let them pass.
'use strict';
const fs = require('fs');
const path = require('path');
const yaml = require('js-yaml');
const ts = require('typescript');

const problems = [];
const sources = new Map(); // of TypeScript, by the manifest's name
for (const file of process.argv.slice(2)) {
  const documents = yaml.loadAll(fs.readFileSync(file, 'utf8')).filter((d) => d);
  if (documents.length === 0) problems.push(`${file}: there is no document in it`);
  for (const d of documents) {
    const name = `${file}: ${d.kind} ${d.metadata && d.metadata.name}`;
    const module = `kubernetes-models/${d.apiVersion}/${d.kind}`;
    let model;
    try {
      model = require(module)[d.kind];
    } catch (e) {
      problems.push(`${name}: there is no kind ${d.kind} in ${d.apiVersion}: ${e.message}`);
      continue;
    }
    try {
      new model(d).validate();
    } catch (e) {
      problems.push(`${name}: ${e.message}`);
    }
    sources.set(path.join(__dirname, `manifest${sources.size}.ts`), {
      name,
      text: `import {I${d.kind}} from '${module}';\nexport const manifest: I${d.kind} =\n${JSON.stringify(d, null, 1)};\n`,
    });
  }
}

// The sources are never written: the compiler is handed them.
const options = {noEmit: true, strict: true, skipLibCheck: true, types: [], module: ts.ModuleKind.CommonJS, moduleResolution: ts.ModuleResolutionKind.Node10, target: ts.ScriptTarget.ES2022};
const host = ts.createCompilerHost(options);
const {fileExists, readFile, getSourceFile} = host;
host.fileExists = (f) => sources.has(path.normalize(f)) || fileExists(f);
host.readFile = (f) => (sources.has(path.normalize(f)) ? sources.get(path.normalize(f)).text : readFile(f));
host.getSourceFile = (f, ...rest) => (sources.has(path.normalize(f)) ? ts.createSourceFile(f, sources.get(path.normalize(f)).text, options.target) : getSourceFile(f, ...rest));
for (const d of ts.getPreEmitDiagnostics(ts.createProgram([...sources.keys()], options, host))) {
  const of = d.file && sources.get(path.normalize(d.file.fileName));
  const at = of ? `${of.name}: ${of.text.split('\n')[d.file.getLineAndCharacterOfPosition(d.start).line].trim()}` : 'types';
  problems.push(`${at}: ${ts.flattenDiagnosticMessageText(d.messageText, ' ')}`);
}

for (const p of problems) console.error(p);
console.log(`${sources.size} manifests, ${problems.length} problems`);
process.exit(problems.length || sources.size === 0 ? 1 : 0);
