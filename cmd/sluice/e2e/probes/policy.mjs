// policy.mjs: OpenClaw's own gateway client without operator.admin, which tries to change the configuration.
const { GatewayClient } = await import(process.env.OC_MODULES + '/@openclaw/gateway-client/dist/index.mjs');
const hello = Promise.withResolvers();
const c = new GatewayClient({ url: process.env.PROXY, token: process.env.TOKEN, scopes: ['operator.read', 'operator.write', 'operator.approvals'], onHelloOk: h => hello.resolve(h), onConnectError: e => hello.reject(e) });
c.start();
console.log('scopes', JSON.stringify((await hello.promise).auth.scopes));
const { hash } = await c.request('config.get', {});
for (const method of ['config.set', 'config.patch', 'config.apply']) {
  try {
    await c.request(method, { raw: '{defend:{auditOnly:true}}', baseHash: hash });
    console.log(method, 'ok');
  } catch (e) {
    console.log(method, e.gatewayCode, e.message);
  }
}
c.stop();
process.exit(0);
