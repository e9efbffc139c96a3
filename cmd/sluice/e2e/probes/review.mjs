// review.mjs: OpenClaw's own gateway client as the operator's client: it takes what waits and what is
// asked while it is there, and decides by the text: a text with "(deny)" is denied.
const { GatewayClient } = await import(process.env.OC_MODULES + '/@openclaw/gateway-client/dist/index.mjs');
const want = 2, ids = new Set(), done = new Set();
const hello = Promise.withResolvers(), end = Promise.withResolvers();
const c = new GatewayClient({
  url: process.env.PROXY, token: process.env.TOKEN, clientDisplayName: 'review-probe', scopes: ['operator.admin', 'operator.read', 'operator.approvals'], caps: ['approvals'],
  onHelloOk: h => hello.resolve(h), onConnectError: e => hello.reject(e), onEvent,
});
async function decide(a) {
  if (ids.has(a.id)) return;
  ids.add(a.id);
  const decision = a.request.detail.includes('(deny)') ? 'deny' : 'allow-once';
  console.log('asked', decision, a.request.title, '|', a.request.description);
  await c.request('plugin.approval.resolve', { id: a.id, decision });
}
function onEvent(e) {
  if (e.event === 'plugin.approval.requested') decide(e.payload).catch(end.reject);
  if (e.event === 'plugin.approval.resolved') {
    console.log('resolved', e.payload.decision, 'by', e.payload.resolvedBy);
    done.add(e.payload.id);
    if (done.size === want) end.resolve();
  }
}
c.start();
await hello.promise;
for (const a of await c.request('plugin.approval.list', {})) await decide(a);
await end.promise;
console.log('left', (await c.request('plugin.approval.list', {})).length);
c.stop();
process.exit(0);
