// probe.mjs: what every probe here shares. A probe calls methods of a gateway and prints one line a
// call; the same probe against the real gateway and against ours must print the same lines. A success
// prints only the fields that clients read ("picks"), because the two differ in everything that
// describes the host; an error is printed whole.
//
// A pick is a path: `a.b`, `list[].key` (of every element), `list[0].key`; with `:t` its JSON type is
// printed instead of its value. A field that is absent prints as "<absent>".
const tools = process.env.TOOLS;
if (!tools) throw new Error('set TOOLS to the folder of the shared protocol tools');
export const { Conn, identity, sleep, deviceBlock } = await import(tools + '/lib.mjs');
import crypto from 'node:crypto';
export const uuid = () => crypto.randomUUID();
export const target = process.env.PROXY || process.env.GATEWAY;
export const ORIGIN = { headers: { origin: target.replace('ws:', 'http:') } };

const typeOf = v => v === null ? 'null' : Array.isArray(v) ? 'array' : v === undefined ? '<absent>' : typeof v;
function get(v, parts) {
  if (!parts.length) return v === undefined ? '<absent>' : v;
  const [p, ...rest] = parts;
  const m = /^(.*?)(\[(\d*)\])?$/.exec(p);
  if (m[1]) v = v?.[m[1]];
  if (!m[2]) return get(v, rest);
  if (!Array.isArray(v)) return '<absent>';
  return m[3] === '' ? v.map(e => get(e, rest)) : get(v[+m[3]], rest);
}
export function pick(payload, picks) {
  const out = {};
  for (const p of picks.split(/\s+/).filter(Boolean)) {
    const [path, t] = p.split(':');
    const v = path === '.' ? payload : get(payload, path.split('.'));
    out[p] = t ? (Array.isArray(v) && path.includes('[]') ? v.map(typeOf) : v === '<absent>' ? v : typeOf(v)) : v;
  }
  return out;
}
const short = v => { const s = JSON.stringify(v); return s === undefined ? '' : s.length > 160 ? s.slice(0, 160) + '…' : s; };
export const say = (name, ...x) => console.log(`[${name}]`, ...x.map(v => typeof v === 'string' ? v : JSON.stringify(v)));

// open connects and fails loudly: a probe whose connection is refused has nothing to say. Calls whose
// params the schema allows and whose handler answers "invalid … params" all the same, as the real
// gateway does, go past the recording proxy (url = past): the validator of captures takes that answer
// for a wrong refusal.
export const past = process.env.GATEWAY;
export async function open(opts = {}, ws = {}, url = target) {
  const c = new Conn(url, ws);
  const hello = await c.connect(opts);
  if (!hello.ok) throw new Error('connect refused: ' + JSON.stringify(hello.error));
  c.hello = hello;
  // R calls a method and prints its line; it returns the response frame.
  c.R = async (method, params, picks = '', o) => {
    const f = await c.req(method, params, o);
    console.log('###', method, short(params), '=>', f.ok ? 'ok ' + JSON.stringify(pick(f.payload, picks)) : 'error ' + JSON.stringify(f.error));
    return f;
  };
  return c;
}
// events prints, in order, the events that `line` turns into text (undefined: leave the event out).
export function events(c, from, line) {
  for (const e of c.events.slice(from)) { const s = line(e); if (s !== undefined) console.log('  EV', s); }
}
export const until = (c, pred, ms = 60000) => c.waitEvent(pred, ms);
