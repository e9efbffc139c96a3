// openclaw-node.mjs: the library openclaw-node 0.14.0 as an operator that chats. (Its node role is of no
// use against the real gateway, which closes without an answer because the library calls itself a
// backend; probes/devices.mjs connects a node.)
import { createRequire } from 'node:module';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
const { OpenClawClient } = createRequire(process.env.OC_MODULES + '/x.js')('openclaw-node');
const url = process.env.PROXY, token = process.env.TOKEN;
const dir = mkdtempSync(path.join(tmpdir(), 'oc-node-'));
const say = (name, ...x) => console.log(`[${name}]`, ...x.map(v => typeof v === 'string' ? v : JSON.stringify(v)));
const make = o => new OpenClawClient({ url, token, autoReconnect: false, deviceIdentityPath: path.join(dir, (o.role ?? 'operator') + '.json'), ...o });

const c = make({});
c.on('error', e => say('error event', String(e.message)));
await c.connect();
say('connected', c.isConnected);
const chunks = [];
for await (const k of c.chat('hello from openclaw-node', { sessionKey: 'agent:main:ocnode' })) chunks.push(k);
say('kinds of chunk', [...new Set(chunks.map(k => k.type))].sort());
say('streamed text', chunks.filter(k => k.type === 'text').map(k => k.text).join(''));
say('streamed in several parts', chunks.filter(k => k.type === 'text').length > 1);
say('one run', new Set(chunks.map(k => k.runId)).size);
say('chatSync', await c.chatSync('again', { sessionKey: 'agent:main:ocnode' }));
const plain = m => typeof m.content === 'string' ? m.content : m.content.map(b => b.text).join('');
const h = await c.sessions.history('agent:main:ocnode', { limit: 20 });
say('history', (h.messages ?? h).map(m => m.role + ': ' + plain(m)));
const list = await c.sessions.list({ limit: 5 });
say('sessions', (list.sessions ?? list).map(s => s.key));
const cfg = await c.config.get();
say('config', typeof cfg.hash, typeof cfg.config);
say('channels', typeof await c.channels.status());
const r = await c.request('status', {});
say('status', r.ok ?? typeof r, typeof (r.payload ?? r));
try { const x = await c.request('no.such.method', {}); say('unknown method', x.ok === false ? x.error : x); } catch (e) { say('unknown method', e.message); }
await c.disconnect();
say('disconnected', !c.isConnected);

const bad = make({ token: 'wrong', deviceIdentityPath: path.join(dir, 'bad.json') });
bad.on('error', () => {});
try { await bad.connect(); say('bad token', 'connected'); } catch (e) { say('bad token', e.message); }
process.exit(0);
