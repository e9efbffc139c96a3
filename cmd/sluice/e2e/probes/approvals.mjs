// approvals.mjs: approvals beyond the shared probe: plugin approvals, ids, decisions, who may see and
// decide, history and its pages, session.approval, a requester that leaves.
import { open, sleep, say, pick, uuid, identity } from './probe.mjs';
const a = await open({ caps: ['approvals'] }), b = await open({ caps: ['approvals'] }), r = await open({ scopes: ['operator.read'] });
const n = await open({ caps: ['approvals'], scopes: ['operator.read', 'operator.approvals'] }); // no device: it may list, not review
const d = await open({ caps: ['approvals'], scopes: ['operator.read', 'operator.approvals'], client: { id: 'cli', version: '1', platform: 'linux', mode: 'cli' }, dev: identity() });
const sk = 'agent:main:appr';
await a.R('sessions.create', { key: sk }, 'key');
for (const [c, name] of [[a, 'admin'], [n, 'no device'], [d, 'device']]) { const f = await c.req('sessions.messages.subscribe', { key: sk, includeApprovals: true }); say('subscribe', name, f.ok ? pick(f.payload, 'subscribed key approvalReplay.approvals approvalReplay.truncated') : f.error); }
await b.req('sessions.messages.subscribe', { key: sk });
const picks = 'id status kind presentation.kind presentation.title presentation.description presentation.detail presentation.severity presentation.pluginId presentation.toolName presentation.agentId presentation.commandText presentation.warningText presentation.host presentation.allowedDecisions urlPath reason decision source resolver.kind';
const brief = e => {
  if (/^(exec|plugin)\.approval\./.test(e.event)) { const p = { ...e.payload }; return `${e.event} ${JSON.stringify(p)}`; }
  if (e.event === 'session.approval') return `session.approval ${JSON.stringify({ ...pick(e.payload, 'sessionKey sourceSessionKey phase'), ...pick(e.payload.approval, picks) })}`;
  return undefined;
};
const exec = { command: 'echo hi', commandArgv: ['echo', 'hi'], cwd: '/tmp', host: 'gateway', agentId: 'main', sessionKey: sk, timeoutMs: 20000 };
const plugin = { pluginId: 'pay', title: 'Pay the bill', description: 'Pay 5 EUR to ACME', severity: 'critical', toolName: 'pay.now', toolCallId: 'tc1', agentId: 'main', sessionKey: sk, timeoutMs: 20000 };
say(' refusals');
// Try prints a refusal; what is accepted waits, which is said, and is denied afterwards.
async function Try(method, p) {
  let over = false;
  const said = a.R(method, p, 'status').then(() => over = true);
  for (let i = 0; i < 14 && !over; i++) await Promise.race([said, sleep(50)]);
  if (!over) console.log('###', method, JSON.stringify(p), 'waits');
}
for (const p of [{}, { command: 'x' }, { ...exec, id: '..' }, { ...exec, id: 'plugin:x' }, { ...exec, id: 'a b' }, { ...exec, id: 'é'.repeat(200) }, { ...exec, timeoutMs: 0 }, { ...exec, timeoutMs: -5 }, { ...exec, command: '' }, { ...exec, bogus: 1 }]) await Try('exec.approval.request', p);
for (const p of [{}, { title: 'x' }, { ...plugin, title: 'é'.repeat(81) }, { ...plugin, description: 'é'.repeat(513) }, { ...plugin, severity: 'awful' }, { ...plugin, timeoutMs: 900000 }, { ...plugin, allowedDecisions: [] }, { ...plugin, allowedDecisions: ['maybe'] }]) await Try('plugin.approval.request', p);
for (const kind of ['exec', 'plugin']) for (const x of (await b.req(kind + '.approval.list', {})).payload) { await b.req(kind + '.approval.resolve', { id: x.id, decision: 'deny' }); await sleep(50); }
for (const m of ['exec.approval.resolve', 'plugin.approval.resolve']) for (const p of [{}, { id: 'nosuch' }, { id: 'nosuch', decision: 'allow-once' }, { id: 'nosuch', decision: 'maybe' }, { id: '', decision: 'deny' }]) await a.R(m, p);
for (const p of [{}, { id: 'nosuch', kind: 'exec', decision: 'deny' }, { id: 'nosuch', kind: 'zzz', decision: 'deny' }, { id: 'nosuch', decision: 'deny' }]) await a.R('approval.resolve', p);
for (const m of ['exec.approval.get', 'approval.get', 'exec.approval.waitDecision', 'plugin.approval.waitDecision']) for (const p of [{}, { id: 'nosuch' }, { id: ' ' }]) await a.R(m, p);
for (const p of [{ limit: 0 }, { limit: 100000 }, { cursor: 'bogus' }, { kind: 'zzz' }, {}]) await a.R('approval.history', p, 'items nextCursor');
for (const [m, p] of [['exec.approval.list', {}], ['plugin.approval.list', {}], ['exec.approval.request', exec], ['plugin.approval.request', plugin], ['exec.approval.resolve', { id: 'x', decision: 'deny' }], ['approval.get', { id: 'x' }], ['approval.history', {}], ['exec.approval.grants.list', {}]]) await r.R(m, p);
await a.R('exec.approval.grants.revoke', { grantId: 'nosuch' }, '.');
await a.R('openclaw.approval.list', {}, '.');

// wait runs a two-phase request and returns its id.
async function ask(method, p) {
  const f = await a.req(method, { ...p, twoPhase: true });
  say('asked', f.ok ? pick(f.payload, 'status deliveryRoute') : f.error);
  return f.payload?.id;
}
const mark = () => [a, b, r, n, d].map(c => c.events.length);
const names = ['requester', 'other', 'reader', 'no device', 'device'];
const seen = async from => { await sleep(400); [a, b, r, n, d].forEach((c, i) => { for (const e of c.events.slice(from[i])) { const s = brief(e); if (s) console.log(`  to ${names[i]}: ${s}`); } }); };
// again repeats a request under its id.
const again = async id => { const f = await a.req('exec.approval.request', { ...exec, id, timeoutMs: 500 }); say('the same id again', f.ok ? pick(f.payload, 'status decision') : f.error); };

say(' a plugin, allowed by another');
let from = mark(), id = await ask('plugin.approval.request', plugin);
say('id', /^plugin:[0-9a-f-]{36}$/.test(id));
await b.R('plugin.approval.list', {}, '[].approvalKind [].request.title [].request.description [].request.severity [].request.allowedDecisions [].request.detail');
await n.R('plugin.approval.list', {}, '[].approvalKind');
for (const c of [b, n, d]) await c.R('approval.get', { id }, picks.split(' ').map(x => 'approval.' + x).join(' '));
await b.R('exec.approval.get', { id });
await b.R('exec.approval.resolve', { id, decision: 'allow-once' });
await r.R('plugin.approval.resolve', { id, decision: 'allow-once' });
await b.R('plugin.approval.resolve', { id, decision: 'allow-once' }, '.');
await b.R('plugin.approval.resolve', { id, decision: 'allow-once' }, '.');
await b.R('plugin.approval.resolve', { id, decision: 'deny' }, '.');
await b.R('approval.resolve', { id, kind: 'plugin', decision: 'deny' }, 'applied approval.status approval.decision');
await a.R('plugin.approval.waitDecision', { id }, 'decision terminalReason');
await seen(from);

say(' decisions that are not offered');
id = await ask('plugin.approval.request', { ...plugin, allowedDecisions: ['allow-once'] });
await b.R('plugin.approval.resolve', { id, decision: 'allow-always' });
await b.R('approval.resolve', { id, kind: 'plugin', decision: 'allow-always' }, 'applied approval.status approval.decision approval.reason');
id = await ask('exec.approval.request', { ...exec, id: 'probe-' + uuid(), unavailableDecisions: ['allow-always'] });
await b.R('exec.approval.resolve', { id, decision: 'allow-always' });
await b.R('approval.resolve', { id, kind: 'plugin', decision: 'allow-once' }, 'applied approval.status approval.decision approval.reason');

say(' a command, denied by a device');
from = mark(); id = await ask('exec.approval.request', { ...exec, id: 'probe-' + uuid(), warningText: 'be careful' });
await again(id);
await n.R('approval.resolve', { id, kind: 'exec', decision: 'deny' });
await d.R('approval.resolve', { id, kind: 'exec', decision: 'deny' }, 'applied approval.status approval.decision approval.reason approval.resolver.kind');
await again(id);
await seen(from);

say(' the requester decides');
id = await ask('exec.approval.request', { ...exec, id: 'probe-' + uuid() });
await a.R('exec.approval.resolve', { id, decision: 'allow-once' }, '.');

say(' the requester leaves');
const e = await open({ caps: ['approvals'] }); id = 'probe-' + uuid();
e.req('exec.approval.request', { ...exec, id }).catch(() => {});
await b.waitEvent(x => x.event === 'exec.approval.requested' && x.payload.id === id, 5000);
e.close(); await sleep(500);
await b.R('exec.approval.list', {}, '[].request.command');
await b.R('exec.approval.resolve', { id, decision: 'deny' }, '.');

say(' history');
const h = await b.R('approval.history', { limit: 2 }, 'items[].status items[].presentation.kind nextCursor:t');
{ const f = await b.req('approval.history', { limit: 2, cursor: h.payload?.nextCursor }); say('the next page', pick(f.payload, 'items[].status items[].presentation.kind nextCursor:t')); }
await b.R('approval.history', { kind: 'plugin' }, 'items[].status items[].presentation.kind nextCursor:t');
await n.R('approval.history', {}, 'items[].status');
await d.R('approval.history', {}, 'items[].status');
process.exit(0);
