// system.mjs: health, status, presence, heartbeats, identity, diagnostics, logs, config, lists, send.
import { open, events, sleep, say, pick, past } from './probe.mjs';
const c = await open(), d = await open({}, {}, past);
const EL = 'eventLoop.degraded:t';
await c.R('health', undefined, `ok ts:t durationMs:t channels:t channelOrder:t channelLabels:t heartbeatSeconds:t defaultAgentId agents[].agentId agents[].isDefault agents[].sessions.count:t sessions.count:t ${EL}`);
await c.R('health', { probe: true }, 'ok ts:t');
await c.R('status', undefined, 'runtimeVersion:t heartbeat.defaultAgentId channelSummary:t queuedSystemEvents:t tasks.total:t sessions.paths:t sessions.count:t sessions.defaults.model sessions.recent:t sessions.byAgent[].agentId');
await c.R('system-presence', undefined, '.:t [0].mode [0].reason [0].text:t [0].ts:t');
await c.R('last-heartbeat', undefined, '.');
for (const p of [{}, { enabled: 'x' }, { enabled: true }, { enabled: false, x: 1 }, { enabled: true }]) await c.R('set-heartbeats', p, 'ok enabled');
let n = c.events.length;
for (const p of [{}, { text: '  ' }, { text: 'hello', foo: 1 }, { text: 'e2e says hello' }, { text: 'Node: x', wake: true }, { text: 'w', wake: true, sessionKey: 'agent:zz:main' }, { text: 'w', wake: true, sessionKey: 'agent:main:nosuch' }, { text: 'Node: host1 (1.2.3.4) · app 1.2 · mode x · reason launch', host: 'host1', ip: '1.2.3.4', instanceId: 'inst1' }]) await c.R('system-event', p, 'ok');
await sleep(200);
events(c, n, e => e.event === 'presence' ? `presence ${JSON.stringify(pick(e.payload, 'presence:t'))} stateVersion ${JSON.stringify(pick(e.stateVersion, 'presence:t health:t'))}` : undefined);
{ const f = await c.req('system-presence', {}); say('presence entries of system-event', f.payload.filter(e => e.host === 'host1' || /e2e/.test(e.text)).map(e => pick(e, 'host ip instanceId text'))); }
{ const f = await c.req('status', {}); say('queued system events', f.payload.queuedSystemEvents.filter(t => /e2e says hello/.test(t)).length); }
await c.R('system.info', {}, 'machineName:t hostname:t platform arch:t osLabel:t port:t pid:t processInstanceId:t uptimeMs:t cpuCount:t memoryTotalBytes:t memoryFreeBytes:t nodeVersion:t defaultAgentUtilityModel.status:t');
await c.R('system.info', { x: 1 });
await c.R('gateway.identity.get', undefined, 'deviceId publicKey');
await c.R('gateway.identity.get', { x: 1 }, 'deviceId:t publicKey:t');
await c.R('diagnostics.lanes', undefined, 'ts:t lanes:t');
{ const f = await c.req('diagnostics.lanes', {}); say('main lane', pick(f.payload.lanes.find(l => l.lane === 'main'), 'lane queuedCount activeCount maxConcurrent:t')); }
for (const p of [undefined, { limit: 0 }, { limit: 'x' }, { limit: 5000 }, { sinceSeq: -1 }, { type: ' ' }, { limit: '3' }]) await c.R('diagnostics.stability', p, 'generatedAt:t capacity:t count:t dropped:t events:t');
for (const p of [{ limit: 2 }, { cursor: 0, limit: 1, maxBytes: 100 }, { cursor: 99999999999, limit: 1 }]) await c.R('logs.tail', p, 'file:t cursor:t size:t lines:t reset');
for (const p of [{ limit: 0 }, { limit: 5001 }, { maxBytes: -2, cursor: 1.5 }, { bogus: 1 }]) await c.R('logs.tail', p);
{ const f = await c.req('logs.tail', { limit: 3 }); say('log lines are JSON with time and message', f.payload.lines.every(l => { const j = JSON.parse(l); return typeof j.time === 'string' && typeof j.message === 'string'; })); }
await c.R('update.status', {}, 'sentinel updateAvailable effectiveChannel:t schedule:t');
await c.R('update.status', { x: 1 });
await c.R('usage.status', {}, 'updatedAt:t providers:t');
await c.R('commands.list', {}, 'commands:t');
{ const f = await c.req('commands.list', {}); say('a command', pick(f.payload.commands.find(x => x.name === 'status'), 'name textAliases description:t source scope acceptsArgs:t')); }
for (const p of [{ agentId: 'zz' }, { scope: 'zz' }, { bogus: 1 }]) await c.R('commands.list', p);
await c.R('models.list', {}, 'models[].id models[].provider models[].name:t models[].contextWindow models[].available');
for (const p of [{ agentId: 'zz' }, { view: 'zz' }]) await c.R('models.list', p);
await c.R('agents.list', {}, 'defaultId mainKey scope agents[].id');
await c.R('agents.list', { x: 1 });
for (const p of [{}, { agentId: 'zz' }, { sessionKey: 'agent:main:main' }]) await c.R('agent.identity.get', p, 'agentId name:t');
await d.R('agent.identity.get', { sessionKey: 'agent::x' });
await c.R('channels.status', {}, `ts:t channelOrder:t channelLabels:t channelMeta:t channels:t channelAccounts:t channelDefaultAccountId:t`);
for (const p of [{ channel: 'zz' }, { probe: 1, timeoutMs: -1 }]) await c.R('channels.status', p);
for (const p of [{ to: 'x', message: '', idempotencyKey: 'k5' }, { to: 'x', idempotencyKey: 'k6' }]) await d.R('send', p);
for (const p of [{}, { to: '', message: 'm', channel: 'nosuch', idempotencyKey: 'k4' }, { to: 'x', message: 'm', channel: 'nosuch', idempotencyKey: 'k3' }]) await c.R('send', p);
// config: reading, the hash rule, every refusal, one change and back
const g = await c.R('config.get', {}, 'exists valid hash:t raw:t parsed:t config:t issues:t path:t');
await c.R('config.get', { x: 1 });
const hash = g.payload.hash;
const line = async (m, p) => { const f = await c.req(m, p); const { baseHash, ...shown } = p; say(`${m} ${JSON.stringify(shown)}${baseHash === undefined ? '' : baseHash === hash ? ' with hash' : ' with a wrong hash'}`, f.ok ? 'ok' : f.error); return f; };
await line('config.set', {});
await line('config.set', { raw: 5 });
await line('config.set', { raw: '{}' });
await line('config.set', { raw: '{}', baseHash: 'zz' });
await line('config.apply', {});
await line('config.apply', { raw: '{}' });
await line('config.patch', {});
await line('config.patch', { raw: '{}', baseHash: 'zz' });
await line('config.patch', { raw: '[]', baseHash: hash });
await line('config.patch', { raw: '{}', baseHash: hash });
await c.R('config.patch', { raw: '{}', baseHash: hash }, 'ok noop changedPaths path:t config:t');
await c.R('config.schema', {}, 'schema:t uiHints:t version:t generatedAt:t');
await c.R('config.schema', { x: 1 });
for (const p of [{}, { path: '' }, { path: '$$$' }, { path: 'nosuch.x' }]) await c.R('config.schema.lookup', p);
say('secrets never leave', !JSON.stringify(g.payload).includes(process.env.TOKEN));
// scopes
const ro = await open({ scopes: ['operator.read'] });
await ro.R('status', {}, 'sessions.paths sessions.defaults sessions.recent sessions.byAgent[].path');
await ro.R('config.set', { raw: '{}' });
await ro.R('system-event', { text: 'x' });
await ro.R('set-heartbeats', {});
await ro.R('nosuch.method', {});
await ro.R('agent', { message: '/new', idempotencyKey: 'zz' });
const none = await open({ scopes: [] });
await none.R('health', {}, 'ok');
await none.R('status', {});
await none.R('system-presence', {});
say('snapshot without scopes', ['configPath', 'stateDir', 'authMode'].filter(k => k in none.hello.payload.snapshot));
say('snapshot of an admin', ['configPath', 'stateDir', 'authMode'].filter(k => k in c.hello.payload.snapshot));
process.exit(0);
