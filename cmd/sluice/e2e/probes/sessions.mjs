// sessions.mjs: every sessions.* method of the table, its refusals and its events.
import { open, events, sleep, say, pick, uuid, until } from './probe.mjs';
const c = await open({ caps: ['tool-events'] });
const ROW = 'key kind agentId updatedAt:t sessionId:t archived pinned modelProvider model';
await c.R('sessions.subscribe', {}, '.');
await c.R('sessions.subscribe', { limit: 1 }, 'subscribed list.sessions:t list.limitApplied');
await c.R('sessions.list', {}, 'ts:t count totalCount limitApplied nextOffset hasMore defaults.modelProvider defaults.model sessions:t');
for (const p of [{ limit: 0 }, { limit: 'ten' }, { bogus: 1 }, { limit: -1, includeGlobal: 'x', search: 5 }]) await c.R('sessions.list', p);
await c.R('sessions.list', { agentId: 'zz' }, 'count sessions');
let n = c.events.length;
const changed = key => e => e.event === 'sessions.changed' && e.payload.sessionKey === key && e.payload.reason ? `sessions.changed ${key} ${e.payload.reason}${e.payload.session ? ' row ' + JSON.stringify(pick(e.payload.session, 'key label kind')) : ''}` : undefined;
const cr = await c.R('sessions.create', { key: 'agent:main:p1', label: 'P one' }, 'ok key sessionId:t entry.sessionId:t entry.label entry.updatedAt:t runStarted resolved.modelProvider resolved.model');
await until(c, e => e.event === 'sessions.changed' && e.payload.sessionKey === 'agent:main:p1' && e.payload.reason === 'create', 5000);
await sleep(600);
{ const seen = new Set(); events(c, n, e => { const s = changed('agent:main:p1')(e); if (s && !seen.has(s)) { seen.add(s); return s; } }); }
{ const f = await c.req('sessions.create', { key: 'agent:main:p1' }); say('create again gives the same session', f.ok, f.payload.sessionId === cr.payload.sessionId, f.payload.key); }
for (const p of [{ key: 'agent:main:p2', label: 'P one' }, { label: 'auto1', agentId: 'zz' }, { key: 'agent:zz:x' }, { key: 'agent:main:p3', model: 'nosuch/model' }, { key: 'agent:main:p4', parentSessionKey: 'agent:main:nosuch' }, { key: '', a: {} }]) await c.R('sessions.create', p);
await c.R('sessions.create', { key: 'plainkey' }, 'ok key runStarted');
{ const f = await c.req('sessions.create', {}); say('create without a key', f.ok, /^agent:main:dashboard:[0-9a-f-]{36}$/.test(f.payload.key)); await c.req('sessions.delete', { key: f.payload.key }); }
// a first turn
n = c.events.length;
const p5 = await c.R('sessions.create', { key: 'agent:main:p5', message: 'hello first' }, 'ok key runStarted runId:t status');
await until(c, e => e.event === 'chat' && e.payload.runId === p5.payload.runId && e.payload.state === 'final');
await sleep(800);
await c.R('sessions.get', { key: 'agent:main:p5' }, 'messages[].role messages[].__openclaw.seq messages[].__openclaw.id:t');
await c.R('sessions.get', { key: 'agent:main:p5', limit: 1 }, 'messages[].role');
for (const p of [{}, { key: ' ' }]) await c.R('sessions.get', p);
await c.R('sessions.get', { key: 'agent:main:nosuch' }, '.');
await c.R('sessions.describe', { key: 'agent:main:p5' }, ROW.split(' ').map(p => 'session.' + p).join(' ') + ' session.status session.inputTokens session.outputTokens');
await c.R('sessions.describe', { key: 'agent:main:p5', includeLastMessage: true }, 'session.lastMessagePreview');
await c.R('sessions.describe', { key: 'agent:main:nosuch' }, '.');
await c.R('sessions.describe', {});
await c.R('sessions.list', { limit: 2, includeLastMessage: true, includeDerivedTitles: true }, 'count limitApplied nextOffset hasMore sessions[0].key sessions[0].lastMessagePreview sessions[0].hasActiveRun sessions[0].activeRunIds');
await c.R('sessions.list', { search: 'P one' }, 'count sessions[].key sessions[].label sessions[].displayName');
await c.R('sessions.list', { search: 'nosuchx' }, 'count sessions hasMore');
for (const p of [{ key: 'agent:main:p5' }, { key: 'agent:main:nosuch' }, {}, { key: 'a', sessionId: 'b' }, { sessionId: 'nosuch' }, { label: 'P one' }, { label: 'nosuch' }, { key: 'agent:main:nosuch', allowMissing: true }]) await c.R('sessions.resolve', p, '.');
{ const f = await c.req('sessions.resolve', { sessionId: cr.payload.sessionId }); say('resolve by sessionId', f.payload ?? f.error); }
await c.R('sessions.preview', { keys: ['agent:main:p5', 'agent:main:nosuch'] }, 'ts:t previews[].key previews[].status previews[].items');
await c.R('sessions.preview', { keys: ['agent:main:p5'], limit: 1, maxChars: 20 }, 'previews[].items');
for (const p of [{ keys: [] }, { keys: ['a', ''], limit: 0, maxChars: 1 }]) await c.R('sessions.preview', p);
// patch
n = c.events.length;
await c.R('sessions.patch', { key: 'agent:main:p1', label: 'New label' }, 'ok key entry.label entry.sessionId:t resolved.modelProvider resolved.model');
await until(c, e => e.event === 'sessions.changed' && e.payload.reason === 'patch', 5000);
{ const seen = new Set(); events(c, n, e => { const s = changed('agent:main:p1')(e); if (s && !seen.has(s)) { seen.add(s); return s; } }); }
await c.R('sessions.patch', { key: 'agent:main:p1', label: null }, 'ok entry.label');
await c.R('sessions.patch', { key: 'agent:main:p2x', label: 'creates' }, 'ok key entry.label entry.sessionId:t');
await c.R('sessions.patch', { key: 'agent:main:p1' }, 'ok key');
await c.R('sessions.patch', { key: 'agent:main:p1', model: 'fake/fake-1' }, 'ok entry.providerOverride entry.modelOverride resolved.model');
await c.R('sessions.patch', { key: 'agent:main:p1', model: null }, 'ok entry.providerOverride entry.modelOverride');
await c.R('sessions.patch', { key: 'agent:main:p1', pinned: true }, 'ok');
for (const p of [{ thinkingLevel: 'zzz' }, { thinkingLevel: 5 }, { model: 'nosuch/x' }, { model: '' }, { verboseLevel: 'zz' }, { sendPolicy: 'x' }, { label: '' }, { label: 'creates' }, { archived: true }, { expectedSessionId: 'nope', label: 'x' }, { spawnedBy: 'x' }, { queueMode: 'followup' }, { fastMode: 5, verboseLevel: 5, label: 5, model: 5 }]) await c.R('sessions.patch', { key: 'agent:main:p1', ...p });
await c.R('sessions.patch', {});
{ const d = await c.req('sessions.patch', { key: 'agent:main:p1', archived: true, expectedSessionId: cr.payload.sessionId }); say('archive with the right sessionId', d.ok ? 'ok' : d.error); const l = await c.req('sessions.list', {}); say('an archived session is hidden', !l.payload.sessions.some(s => s.key === 'agent:main:p1')); await c.R('sessions.delete', { key: 'agent:main:p2x', archivedOnly: true }); const u = await c.req('sessions.patch', { key: 'agent:main:p1', archived: false, expectedSessionId: cr.payload.sessionId }); say('unarchive', u.ok ? 'ok' : u.error); }
// reset, compact
n = c.events.length;
const before = (await c.req('sessions.describe', { key: 'agent:main:p5' })).payload.session.sessionId;
{ const f = await c.R('sessions.reset', { key: 'agent:main:p5' }, 'ok key entry.systemSent entry.inputTokens entry.totalTokens resolved.model'); say('reset keeps the sessionId', f.payload.entry.sessionId === before); }
await c.R('chat.history', { sessionKey: 'agent:main:p5' }, 'messages[].role messages[].content messages[].__openclaw.kind totalMessages');
await c.R('sessions.reset', { key: 'agent:main:p5', reason: 'new' }, 'ok key');
await c.R('sessions.reset', { key: 'agent:main:nosuch3' }, 'ok key entry.sessionId:t');
for (const p of [{}, { key: 'k', reason: 'zzz' }]) await c.R('sessions.reset', p);
await c.R('sessions.compact', { key: 'agent:main:nosuch' }, '.');
for (const p of [{}, { key: 'x', maxLines: 0 }]) await c.R('sessions.compact', p);
// subscriptions
await c.R('sessions.messages.subscribe', { key: 'agent:main:p5' }, '.');
await c.R('sessions.messages.subscribe', { key: 'main' }, '.');
await c.R('sessions.messages.subscribe', { key: 'agent:main:nosuch' }, '.');
await c.R('sessions.messages.unsubscribe', { key: 'agent:main:p5' }, '.');
await c.R('sessions.messages.unsubscribe', { key: 'agent:main:nosuch' }, '.');
for (const p of [{}, { key: '' }, { key: '  ' }]) await c.R('sessions.messages.subscribe', p);
// abort
for (const p of [{}, { key: 'agent:main:p5' }, { key: 'agent:main:nosuch' }, { runId: 'nosuch' }, { key: 'agent:main:p5', runId: 'nosuch' }]) await c.R('sessions.abort', p, '.');
// send
for (const p of [{}, { key: 'agent:main:nosuch5', message: 'hi' }, { key: 'agent:main:p5' }]) await c.R('sessions.send', p);
const s1 = await c.R('sessions.send', { key: 'agent:main:p5', message: 'hi' }, 'runId:t status');
await until(c, e => e.event === 'chat' && e.payload.runId === s1.payload.runId && e.payload.state === 'final');
await sleep(500);
{ const id = uuid(); const a = await c.req('sessions.send', { key: 'agent:main:p5', message: 'SLOW one', idempotencyKey: id }); say('send with a key', a.payload.runId === id, a.payload.status); await until(c, e => e.event === 'chat' && e.payload.runId === id && e.payload.state === 'delta'); await c.R('sessions.compact', { key: 'agent:main:p5', maxLines: 1 }); const b = await c.req('sessions.abort', { key: 'agent:main:p5' }); say('abort a run', b.payload.abortedRunId === id, b.payload.status); await until(c, e => e.event === 'chat' && e.payload.runId === id && e.payload.state === 'aborted'); await sleep(800); }
// delete
n = c.events.length;
for (const p of [{ key: 'agent:main:main' }, { key: 'main' }, {}, { key: 'k', deleteTranscript: 'yes', reason: 1 }, { key: 'agent:main:p5', archivedOnly: true }]) await c.R('sessions.delete', p);
await c.R('sessions.delete', { key: 'agent:main:neverwas' }, '.');
await c.R('sessions.delete', { key: 'agent:main:p1' }, 'ok key deleted archived:t');
await c.R('sessions.delete', { key: 'agent:main:p5', deleteTranscript: true }, 'ok key deleted archived:t');
await sleep(300);
events(c, n, e => e.event === 'sessions.changed' && e.payload.reason === 'delete' && e.payload.sessionKey ? `sessions.changed ${e.payload.sessionKey} delete sessionId ${typeof e.payload.sessionId}` : undefined);
await c.R('sessions.describe', { key: 'agent:main:p5' }, '.');
await c.R('chat.history', { sessionKey: 'agent:main:p5' }, 'messages totalMessages');
// scopes
const w = await open({ scopes: ['operator.write'] });
await w.R('sessions.patch', { key: 'agent:main:p2x', label: 'by writer' }, 'ok entry.label');
await w.R('sessions.patch', { key: 'agent:main:p2x', verboseLevel: 'on' });
await w.R('sessions.patch', { key: 'agent:main:p2x', sandboxMode: 'off' });
await w.R('sessions.delete', { key: 'agent:main:p2x' });
await w.R('sessions.reset', { key: 'agent:main:p2x' });
await w.R('sessions.create', { key: 'agent:main:p9', execNode: 'n' });
const sr = await open({ scopes: ['operator.sessions.read'] });
await sr.R('sessions.patch', { key: 'agent:main:p2x', label: 'no' });
await sr.R('status', {});
process.exit(0);
