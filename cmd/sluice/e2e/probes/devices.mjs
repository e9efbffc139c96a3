// devices.mjs: pairing requests, approvals, tokens and what every client is told when it is refused. A
// client that sends an Origin and is no browser UI is never approved silently: that makes a pending
// request on a loopback gateway.
import { open, events, sleep, say, pick, identity, Conn, target, ORIGIN } from './probe.mjs';
const TOKEN = process.env.TOKEN;
const admin = await open(); let n = admin.events.length;
const paired = e => /^device\.pair/.test(e.event) ? `${e.event} ${JSON.stringify(pick(e.payload, e.event === 'device.pair.requested' ? 'platform clientId clientMode role roles scopes silent isRepair requestId:t deviceId:t publicKey:t ts:t' : e.event === 'device.pair.resolved' ? 'decision requestId:t deviceId:t ts:t' : '.'))}` : undefined;
const flush = async () => { await sleep(250); events(admin, n, paired); n = admin.events.length; };
const client = { id: 'test', version: '1.0.0', platform: 'linux', mode: 'test' };
const closed = async (x, ms = 1500) => await Promise.race([x.closed, sleep(ms).then(() => 'still open')]);
const AUTH = 'method role scopes deviceToken:t issuedAtMs:t';
async function dial(name, opts, ws = {}) { const x = new Conn(target, ws); const h = await x.connect({ client, scopes: ['operator.read'], ...opts }); say(name, h.ok ? 'ok ' + JSON.stringify(pick(h.payload.auth, AUTH)) : h.error, h.ok ? '' : await closed(x)); return { x, h }; }
await admin.R('device.pair.list', {}, 'pending paired');
await admin.R('device.pair.list', { x: 1 });
// silent approval and device tokens
const d1 = identity(); const a = await dial('silent', { dev: d1 }); await flush();
const tok = a.h.payload.auth.deviceToken;
{ const l = await admin.req('device.pair.list', {}); say('paired row', pick(l.payload.paired.find(p => p.deviceId === d1.deviceId), 'platform clientId clientMode role roles scopes approvedVia connected lastSeenReason tokens[].role tokens[].scopes createdAtMs:t approvedAtMs:t publicKey:t')); }
a.x.close(); await sleep(200);
for (const [name, auth] of [['device token as deviceToken', { deviceToken: tok }], ['device token as token', { token: tok }], ['bad deviceToken', { deviceToken: 'bad' }], ['bad token', { token: 'bad' }], ['nothing', {}], ['good token and bad deviceToken', { token: TOKEN, deviceToken: 'bad' }], ['token as password', { password: TOKEN }], ['bootstrap', { bootstrapToken: 'zzz' }]]) { const { x } = await dial(name, { dev: d1, auth }); x.close(); }
{ const { x } = await dial('device token asks for more', { dev: d1, auth: { deviceToken: tok }, scopes: ['operator.read', 'operator.admin'] }); x.close(); }
{ const { x, h } = await dial('shared token asks for more, local', { dev: d1, scopes: ['operator.read', 'operator.write'] }); say('a new token', h.payload.auth.deviceToken !== tok); x.close(); }
{ const { x } = await dial('the old token', { dev: d1, auth: { deviceToken: tok } }); x.close(); }
{ const { x } = await dial('v2 proof', { dev: d1, devVersion: 'v2' }); x.close(); }
await flush();
// pending, approve
const d2 = identity(); let p = await dial('pending', { dev: d2 }, ORIGIN); await flush();
const rid = p.h.error.details.requestId;
{ const q = await dial('pending again', { dev: d2 }, ORIGIN); say('the same request', q.h.error.details.requestId === rid); }
{ const l = await admin.req('device.pair.list', {}); say('pending row', pick(l.payload.pending[0], 'platform clientId clientMode role roles scopes silent isRepair requestId:t deviceId:t publicKey:t ts:t')); }
for (const q of [{}, { requestId: 'nosuch' }, { requestId: '' }]) await admin.R('device.pair.approve', q);
{ const f = await admin.req('device.pair.approve', { requestId: rid }); say('approve', pick(f.payload, 'device.platform device.clientId device.role device.roles device.scopes device.approvedVia device.tokens[].role device.tokens[].scopes'), f.payload.requestId === rid); }
await flush();
p = await dial('approved', { dev: d2 }, ORIGIN);
await admin.R('device.pair.approve', { requestId: rid });
{ const f = await admin.req('device.pair.rename', { deviceId: d2.deviceId, label: 'My dev' }); say('rename', f.ok ? pick(f.payload, 'label') : f.error); }
for (const q of [{ deviceId: 'nosuch', label: 'z' }, { deviceId: 'nosuch', label: '' }, { deviceId: 'nosuch', name: 'x' }]) await admin.R('device.pair.rename', q);
await flush();
// tokens: rotate, revoke
for (const q of [{}, { deviceId: 'nosuch', role: 'operator' }]) await admin.R('device.token.rotate', q);
for (const [name, q] of [['a role it has not', { role: 'node' }], ['wider scopes', { role: 'operator', scopes: ['operator.admin'] }]]) { const f = await admin.req('device.token.rotate', { deviceId: d2.deviceId, ...q }); say('rotate ' + name, f.payload ?? f.error); }
{ const f = await admin.req('device.token.rotate', { deviceId: d2.deviceId, role: 'operator' }); say('rotate', pick(f.payload, 'role scopes rotatedAtMs:t tokenDelivery token'), 'victim', await closed(p.x)); }
{ const q = await dial('the rotated token', { dev: d2, auth: { deviceToken: p.h.payload.auth.deviceToken } }, ORIGIN); q.x.close(); }
for (const q of [{}, { deviceId: 'nosuch', role: 'operator' }]) await admin.R('device.token.revoke', q);
p = await dial('before the revocation', { dev: d2 }, ORIGIN);
{ const f = await admin.req('device.token.revoke', { deviceId: d2.deviceId, role: 'operator' }); say('revoke', pick(f.payload, 'role revokedAtMs:t'), 'victim', await closed(p.x)); }
p = await dial('after the revocation', { dev: d2 }, ORIGIN);
await flush();
for (const q of [{}, { deviceId: 'nosuch' }]) await admin.R('device.pair.remove', q);
p = await dial('d1 stays', { dev: d1 });
{ const f = await admin.req('device.pair.remove', { deviceId: d1.deviceId }); say('remove', f.payload?.deviceId === d1.deviceId, 'victim', await closed(p.x)); }
{ const f = await admin.req('device.pair.remove', { deviceId: d2.deviceId }); say('remove d2', f.ok); }
{ const l = await admin.req('device.pair.list', {}); say('left', l.payload.paired.length); }
await flush();
// reject
const d3 = identity(); p = await dial('pending d3', { dev: d3 }, ORIGIN);
await admin.R('device.pair.reject', { requestId: 'nosuch' });
{ const f = await admin.req('device.pair.reject', { requestId: p.h.error.details.requestId }); say('reject', Object.keys(f.payload ?? f.error).sort()); }
await flush();
// a changed platform is a new request
const d4 = identity(); p = await dial('d4', { dev: d4, client: { id: 'cli', version: '1', platform: 'linux', deviceFamily: 'Linux', mode: 'cli' } }); p.x.close();
await dial('d4 on another platform', { dev: d4, client: { id: 'cli', version: '1', platform: 'darwin', deviceFamily: 'Mac', mode: 'cli' } });
// a node: its own role, its own methods, no others
{ const x = await open({ client: { id: 'node-host', version: '1', platform: 'linux', deviceFamily: 'Linux', mode: 'node' }, role: 'node', scopes: [], caps: [], commands: [], dev: identity() });
  say('node hello', pick(x.hello.payload, 'protocol auth.role auth.scopes auth.deviceToken:t policy.tickIntervalMs snapshot.configPath'));
  await x.R('health', {}, 'ok'); await x.R('status', {}); await x.R('no.such.method', {}); await x.R('chat.send', { sessionKey: 'main', message: 'x', idempotencyKey: 'k' });
  await sleep(200); say('node sees no operator events', x.events.filter(e => /^(presence|chat|agent|sessions|device)/.test(e.event)).length);
  x.close(); await flush(); }
// scopes
const ro = await open({ scopes: ['operator.read'] });
await ro.R('device.pair.list', {});
await ro.R('device.token.rotate', { deviceId: 'x', role: 'operator' });
// what each client is told
const clients = [['cli', 'cli'], ['gateway-client', 'backend'], ['openclaw-control-ui', 'webchat'], ['openclaw-tui', 'ui'], ['openclaw-ios', 'ui'], ['cli', 'probe'], ['node-host', 'node']];
for (const [id, mode] of clients) for (const dev of [undefined, identity()]) for (const auth of [{}, { deviceToken: 'bad' }]) { const x = new Conn(target, /control-ui/.test(id) ? ORIGIN : {}); const h = await x.connect({ client: { id, version: '1', platform: 'linux', mode }, dev, auth, scopes: mode === 'node' ? [] : ['operator.read'], role: mode === 'node' ? 'node' : 'operator' }); say(`${id}/${mode} ${Object.keys(auth)[0] ?? 'no secret'} ${dev ? 'device' : 'no device'}`, h.ok ? 'ok' : h.error, await closed(x)); x.close(); }
for (const [id, mode] of clients.slice(0, 4)) { const x = new Conn(target, /control-ui/.test(id) ? ORIGIN : {}); const h = await x.connect({ client: { id, version: '1', platform: 'linux', mode }, dev: identity(), auth: { token: 'bad' }, scopes: ['operator.read'] }); say(`${id}/${mode} bad token`, h.error.message, h.error.details); x.close(); }
process.exit(0);
