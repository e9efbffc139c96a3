// Asks the real validator of an installed openclaw package about params.
//   node oracle.mjs /path/to/node_modules/openclaw <cases.jsonl >answers.jsonl
// A case is {"schema","params"}, params as JSON text; its answer adds "want": the text
// of the refusal, or null when the params are accepted. Run by TestValidateLikeUpstream
// with -update; the definitions are those of shared/protocol/schema96.json.
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';

const dist = path.join(process.argv[2], 'dist');

// The package's files have hashed names and mangled exports: find them by content.
async function find(text, name) {
  for (const file of fs.readdirSync(dist)) {
    if (!file.endsWith('.mjs')) continue;
    const source = fs.readFileSync(path.join(dist, file), 'utf8');
    if (!source.includes(text)) continue;
    const list = source.slice(source.lastIndexOf('export {') + 8, source.lastIndexOf('}'));
    for (const item of list.split(',')) {
      const [inside, outside] = item.trim().split(' as ');
      if (inside === name) return (await import(path.join(dist, file)))[outside || inside];
    }
  }
  throw new Error(`${name} is not in ${dist}`);
}

const format = await find('function formatValidationErrors(', 'formatValidationErrors');
const compile = await find('function lazyCompile(', 'lazyCompile');
const schemas = new Map();
for (const line of fs.readFileSync(new URL('../params_gen.txt', import.meta.url), 'utf8').split('\n')) {
  const tab = line.indexOf('\t');
  if (tab > 0) schemas.set(line.slice(0, tab), compile(JSON.parse(line.slice(tab + 1))));
}
const out = [];
for await (const line of readline.createInterface({ input: process.stdin })) {
  const { schema, params } = JSON.parse(line);
  const validate = schemas.get(schema);
  const want = validate(JSON.parse(params)) ? null : format(validate.errors);
  out.push(JSON.stringify({ schema, params, want }));
}
process.stdout.write(out.join('\n') + '\n');
