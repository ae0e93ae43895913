// A process of its own: mockttp passes every request through with another header, records nothing, on loopback only.
import { writeFileSync } from 'node:fs';
import dns from 'node:dns';
import { syncBuiltinESMExports } from 'node:module';
import { Server } from 'node:net';
import { join } from 'node:path';
import { loopback } from './lookup.ts';
import type { NodeSettings } from './node-peer.ts';

const { port, dir, originCa, authorization } = JSON.parse(process.argv[2] ?? '') as NodeSettings;

// It has no option for either: it listens on every address, and resolves by the system.
Object.assign(dns, { lookup: loopback });
syncBuiltinESMExports();
const listen = Reflect.get(Server.prototype, 'listen') as (port: number, host: string) => Server;
Object.assign(Server.prototype, {
  listen(this: Server, at: number): Server {
    return listen.call(this, at, '127.0.0.1');
  },
});

/** As far as it is used: the package is not always there. */
interface Mockttp {
  readonly generateCACertificate: () => Promise<{ readonly key: string; readonly cert: string }>;
  readonly getLocal: (options: object) => {
    forAnyRequest(): { thenPassThrough(options: object): Promise<unknown> };
    start(port: number): Promise<void>;
  };
}

const name: string = 'mockttp';
const { generateCACertificate, getLocal } = (await import(name)) as Mockttp;
const ca = await generateCACertificate();
const server = getLocal({ https: ca, http2: false, recordTraffic: false });
await server.forAnyRequest().thenPassThrough({
  additionalTrustedCAs: [{ certPath: originCa }],
  transformRequest: { updateHeaders: { authorization } },
});
writeFileSync(join(dir, 'ca.pem'), ca.cert);
await server.start(port);
