// A process of its own: http-mitm-proxy as its documentation shows it, with keep-alive on both legs.
import { readFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { Proxy } from 'http-mitm-proxy';
import { loopback } from './lookup.ts';
import type { NodeSettings } from './node-peer.ts';

const settings = JSON.parse(process.argv[2] ?? '') as NodeSettings;

const proxy = new Proxy();
proxy.onError(() => undefined); // the load generator sees it as a bad answer
proxy.onRequest((ctx, next) => {
  const out = ctx.proxyToServerRequestOptions;
  if (out) out.headers['authorization'] = settings.authorization;
  next();
});
proxy.listen({
  host: '127.0.0.1',
  port: settings.port,
  sslCaDir: settings.dir,
  keepAlive: true,
  httpsAgent: new Agent({ keepAlive: true, ca: readFileSync(settings.originCa), lookup: loopback }),
});
