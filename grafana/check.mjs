// Type-checks a dashboard file: `node check.mjs dashboard.json`. A misspelt key or value is reported with its line.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const here = dirname(fileURLToPath(import.meta.url));
const file = process.argv[2];
// On the first line of the JSON, so that line numbers match the file.
const source = `import type { ImportRequest } from './dashboard-types'; export const body: ImportRequest = ${readFileSync(file, 'utf8')}`;
const virtual = join(here, 'dashboard.check.ts');

const options = {
  strict: true,
  noEmit: true,
  types: [],
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  target: ts.ScriptTarget.ES2022,
};
const host = ts.createCompilerHost(options);
const { fileExists, getSourceFile } = host;
host.fileExists = (name) => name === virtual || fileExists(name);
host.getSourceFile = (name, ...rest) =>
  name === virtual ? ts.createSourceFile(name, source, ts.ScriptTarget.ES2022) : getSourceFile(name, ...rest);

const program = ts.createProgram([virtual], options, host);
const faults = ts.getPreEmitDiagnostics(program);
for (const fault of faults) {
  const line = fault.file ? fault.file.getLineAndCharacterOfPosition(fault.start).line + 1 : 0;
  console.error(`${fault.file?.fileName === virtual ? file : fault.file?.fileName}:${line}: ${ts.flattenDiagnosticMessageText(fault.messageText, '\n  ')}`);
}
process.exitCode = faults.length ? 1 : 0;
