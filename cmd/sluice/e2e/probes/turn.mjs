// turn.mjs: chat turns as every reader sees them: a turn, duplicates, an abort, a second send in every
// queue mode, inject, history and its cursor, agent and agent.wait.
import { open, events, sleep, say, pick, uuid, until, past } from './probe.mjs';
const c = await open({ caps: ['tool-events'] }), r = await open({ scopes: ['operator.read'] });
const sk = 'agent:main:turn';
await c.R('sessions.create', { key: sk }, 'ok key');
await c.req('sessions.subscribe', {}); await c.req('sessions.messages.subscribe', { key: sk }); await r.req('sessions.messages.subscribe', { key: sk });
const of = id => e => e.payload?.runId === id;
const state = (id, s) => e => e.event === 'chat' && e.payload.runId === id && e.payload.state === s;
for (const p of [{}, { sessionKey: sk }, { sessionKey: sk, message: '', idempotencyKey: uuid() }, { sessionKey: sk, message: '   ', idempotencyKey: uuid() }, { sessionKey: 'agent:zz:main', message: 'x', idempotencyKey: uuid() }, { sessionKey: sk, message: 'a\u0000b', idempotencyKey: uuid() }, { sessionKey: '', message: 1, idempotencyKey: 'k', bogus: 1, bogus2: 2 }, { sessionKey: sk, message: 'x', idempotencyKey: 'k', timeoutMs: -1, queueMode: 'zzz' }]) await c.R('chat.send', p);
await r.R('chat.send', { sessionKey: sk, message: 'x', idempotencyKey: uuid() });
for (const p of [{}, { sessionKey: sk, limit: '5' }, { sessionKey: sk, limit: 0 }, { sessionKey: sk, limit: 100000 }, { sessionKey: sk, offset: 1, messageId: 'x' }, { sessionKey: sk, cursor: 'x', offset: 1 }]) await c.R('chat.history', p);
await c.R('chat.history', { sessionKey: 'agent:main:nosuch' }, 'sessionKey sessionId messages pendingInputs hasMore totalMessages defaults.model sessionInfo.key sessionInfo.hasActiveRun');
await c.R('chat.history', { sessionKey: sk, cursor: 'bogus' }, '.');
for (const p of [{}, { sessionKey: sk, messageId: 'nosuch' }]) await c.R('chat.message.get', p, '.');
for (const p of [{}, { sessionKey: sk }, { sessionKey: sk, runId: 'nosuch' }, { sessionKey: 'agent:main:nosuch' }]) await c.R('chat.abort', p, '.');
for (const p of [{}, { sessionKey: 'agent:main:nosuch', message: 'x' }, { sessionKey: sk, message: '' }, { sessionKey: sk, message: 'x', idempotencyKey: 'i' }]) await c.R('chat.inject', p);
await r.R('chat.inject', { sessionKey: sk, message: 'x' });
// inject
let n = r.events.length;
const inj = await c.R('chat.inject', { sessionKey: sk, message: 'injected text', label: 'lab' }, 'ok messageId:t');
await sleep(400);
events(r, n, e => e.event === 'chat' ? `chat ${JSON.stringify(pick(e.payload, 'sessionKey agentId seq state message.role message.content'))} runId of the message ${e.payload.runId === 'inject-' + inj.payload.messageId}` : e.event === 'session.message' ? `session.message ${JSON.stringify(pick(e.payload, 'sessionKey agentId messageSeq message.role message.content message.stopReason message.provider message.model'))}` : undefined);
// a whole turn, seen by the sender and by a reader on another connection
n = c.events.length; let rn = r.events.length;
const id = uuid();
await c.R('chat.send', { sessionKey: sk, message: 'hello stream', idempotencyKey: id }, 'runId status');
await until(c, state(id, 'final')); await sleep(1200);
const brief = e => { const p = e.payload; if (!of(id)(e) && e.event !== 'session.message') return undefined;
  if (e.event === 'chat') return p.state === 'delta' ? undefined : `chat ${p.state} ${p.phase ?? p.stopReason ?? ''} ${p.message ? JSON.stringify(p.message.content) : ''}`;
  if (e.event === 'agent') return p.stream === 'assistant' ? undefined : `agent ${p.stream} ${p.data.phase ?? ''}`;
  if (e.event === 'session.message') return `session.message ${p.message.role} ${p.messageSeq} ${JSON.stringify(p.message.content)}`;
  return undefined; };
say('sender'); events(c, n, brief);
say('reader'); events(r, rn, brief);
const deltas = (conn, from) => conn.events.slice(from).filter(state(id, 'delta'));
const text = ds => ds.map(e => e.payload.deltaText).join('');
const final = c.events.slice(n).find(state(id, 'final')).payload;
say('deltas add up', text(deltas(c, n)) === final.message.content[0].text, 'for the reader', text(deltas(r, rn)) === final.message.content[0].text);
say('delta messages are cumulative', deltas(c, n).every((e, i, a) => e.payload.message.content[0].text === text(a.slice(0, i + 1))));
say('assistant deltas add up', c.events.slice(n).filter(e => e.event === 'agent' && of(id)(e) && e.payload.stream === 'assistant').map(e => e.payload.data.delta).join('') === final.message.content[0].text);
say('payload seq never falls', c.events.slice(n).filter(e => of(id)(e) && typeof e.payload.seq === 'number').every((e, i, a) => !i || e.payload.seq >= a[i - 1].payload.seq));
say('final', pick(final, 'sessionKey agentId state stopReason message.role message.content'));
{ const e = c.events.slice(n).find(e => e.event === 'agent' && of(id)(e) && e.payload.stream === 'lifecycle' && e.payload.data.phase === 'end'); say('lifecycle end', pick(e.payload.data, 'stopReason aborted startedAt:t endedAt:t')); }
const h = await c.R('chat.history', { sessionKey: sk, limit: 10 }, 'sessionKey messages[].role messages[].content messages[].stopReason messages[].__openclaw.seq pendingInputs hasMore totalMessages deltaCursor:t sessionInfo.hasActiveRun');
await c.R('chat.history', { sessionKey: sk, limit: 1 }, 'messages[].role hasMore nextOffset totalMessages');
await c.R('chat.history', { sessionKey: sk, limit: 1, offset: 1 }, 'messages[].role messages[].content hasMore nextOffset offset');
{ const f = await c.req('chat.history', { sessionKey: sk, cursor: h.payload.deltaCursor }); say('history by cursor', pick(f.payload, 'kind messages deltaCursor:t')); await c.req('chat.inject', { sessionKey: sk, message: 'after the cursor' }); const g = await c.req('chat.history', { sessionKey: sk, cursor: h.payload.deltaCursor }); say('history by cursor after a change', pick(g.payload, 'kind messages[].messageSeq messages[].message.role messages[].message.content')); }
{ const m = h.payload.messages.at(-1); const f = await c.req('chat.message.get', { sessionKey: sk, messageId: m.__openclaw.id }); say('message.get', pick(f.payload, 'ok message.role message.content')); }
await c.R('chat.metadata', { sessionKey: sk }, 'models[].id commands:t');
await c.R('chat.startup', { sessionKey: sk }, 'sessionKey messages[].role metadata.models[].id metadata.commands:t');
await c.R('chat.startup', {});
{ const f = await c.req('agent.wait', { runId: id }); say('agent.wait', pick(f.payload, 'status endedAt:t')); }
await c.R('agent.wait', { runId: 'nosuch', timeoutMs: 300 }, '.');
for (const p of [{}, { runId: '' }, { runId: 'x', timeoutMs: -1 }]) await c.R('agent.wait', p);
await c.R('chat.send', { sessionKey: sk, message: 'hello stream', idempotencyKey: id }, 'runId status');
await c.R('chat.send', { sessionKey: sk, message: 'different', idempotencyKey: id });
// abort
n = c.events.length; const id2 = uuid();
await c.R('chat.send', { sessionKey: sk, message: 'SLOW one', idempotencyKey: id2 }, 'runId status');
await until(c, state(id2, 'delta'));
await c.R('chat.send', { sessionKey: sk, message: 'SLOW one', idempotencyKey: id2 }, 'runId status');
await c.R('chat.history', { sessionKey: sk, limit: 1 }, 'sessionInfo.hasActiveRun inFlightRun.runId inFlightRun.text:t');
await c.R('agent.wait', { runId: id2, timeoutMs: 200 }, '.');
await c.R('chat.abort', { sessionKey: sk, runId: id2 }, '.');
await until(c, state(id2, 'aborted')); await sleep(1000);
{ const a = c.events.slice(n).find(state(id2, 'aborted')).payload; say('aborted', pick(a, 'state stopReason message.role'), 'keeps what was said', /^word0/.test(a.message.content[0].text)); }
await c.R('chat.abort', { sessionKey: sk, runId: id2 }, '.');
await c.R('chat.send', { sessionKey: sk, message: 'SLOW one', idempotencyKey: id2 }, 'runId status summary stopReason endedAt:t');
await c.R('agent.wait', { runId: id2 }, 'runId status error stopReason');
{ const f = await c.req('chat.history', { sessionKey: sk, limit: 1 }); say('the partial is kept', pick(f.payload.messages[0], 'role openclawAbort.aborted openclawAbort.origin')); }
// a second message while a run is active
for (const mode of ['followup', 'collect', 'interrupt']) {
  const a = uuid(), b = uuid(); n = c.events.length;
  await c.req('chat.send', { sessionKey: sk, message: 'SLOW first', idempotencyKey: a });
  await until(c, state(a, 'delta'));
  const f = await c.req('chat.send', { sessionKey: sk, message: 'second ' + mode, idempotencyKey: b, queueMode: mode });
  say('second send, ' + mode, pick(f.payload, 'status interruptedActiveRun'), f.payload.runId === b);
  if (mode !== 'interrupt') {
    await sleep(300);
    const q = await c.req('chat.history', { sessionKey: sk, limit: 1 });
    say('  pending', pick(q.payload.pendingInputs, 'total items[].state items[].message.content'), q.payload.pendingInputs.items[0]?.runId === b);
    await c.req('chat.abort', { sessionKey: sk, runId: a });
  }
  await until(c, e => e.event === 'session.message' && c.events.indexOf(e) >= n && e.payload.message.role === 'user' && String(e.payload.message.content).endsWith('second ' + mode)).catch(() => say('  the second message never ran'));
  await until(c, e => e.event === 'chat' && c.events.indexOf(e) >= n && e.payload.state === 'final' && e.payload.message).catch(() => say('  no final'));
  await sleep(1000);
  const g = await c.req('chat.history', { sessionKey: sk, limit: 2 });
  say('  history', g.payload.messages.map(m => m.role + ':' + (typeof m.content === 'string' ? m.content : m.content[0].text)), g.payload.pendingInputs);
}
// agent: two answers with one id
{ const d = await open({}, {}, past); await d.R('agent', { message: 'x', idempotencyKey: uuid(), agentId: 'zz' }); }
for (const p of [{}, { message: '', idempotencyKey: uuid() }, { message: 'x', idempotencyKey: uuid(), sessionKey: 'agent:zz:main' }, { message: 'x', idempotencyKey: uuid(), thinking: 5, attachments: 5 }]) await c.R('agent', p);
{ const id3 = uuid(); n = c.frames.length;
  await c.req('agent', { message: 'hello agent', idempotencyKey: id3, sessionKey: 'agent:main:ag' }, { id: 'agent-1' });
  await until(c, e => of(id3)(e) && e.event === 'agent' && e.payload.stream === 'lifecycle' && e.payload.data.phase === 'start');
  const d = await c.req('agent', { message: 'hello agent', idempotencyKey: id3, sessionKey: 'agent:main:ag' }); say('agent twice', pick(d.payload, 'status sessionKey agentId'), d.payload.runId === id3);
  for (let i = 0; i < 100 && c.frames.filter(f => f.id === 'agent-1').length < 2; i++) await sleep(100);
  for (const f of c.frames.slice(n).filter(f => f.id === 'agent-1')) say('agent answer', pick(f.payload, 'status sessionKey agentId acceptedAt:t summary result.payloads[].text'), f.payload.runId === id3);
  const e = await c.req('agent', { message: 'hello agent', idempotencyKey: id3, sessionKey: 'agent:main:ag' }); say('agent replay', pick(e.payload, 'status summary result.payloads[].text')); }
process.exit(0);
