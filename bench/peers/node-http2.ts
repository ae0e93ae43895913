import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DOMAIN } from '../origin.ts';
import { createCa, issue } from '../pki.ts';
import { freePort, startGroup } from '../processes.ts';
import type { Peer } from './peer.ts';

const SERVER = fileURLToPath(new URL('node-http2.server.ts', import.meta.url));

/** What its process is started with. */
export interface Settings {
  readonly port: number;
  readonly originPort: number;
  readonly host: string;
  /** Paths of PEM files. */
  readonly cert: string;
  readonly key: string;
  readonly originCa: string;
  readonly authorization: string;
  readonly upstream: 'h1' | 'h2';
}

/** A bare pass-through on node:http2, which speaks nothing else with its clients: what Node's HTTP/2 costs by itself. */
export const nodeHttp2: Peer = {
  name: 'node-http2',
  mints: false,
  missing: () => undefined,
  version: () => `node:http2 of Node ${process.versions.node}`,

  async start({ dir, core, origin }) {
    const ca = createCa(dir, 'node-http2-ca');
    const { cert, key } = issue(dir, 'node-http2', ca, `*.${DOMAIN}`);
    const port = await freePort();
    const settings: Settings = {
      port,
      originPort: origin.port,
      host: `api.${DOMAIN}`,
      cert,
      key,
      originCa: origin.ca.cert,
      authorization: origin.authorization,
      upstream: origin.http2 ? 'h2' : 'h1',
    };
    const options = { name: 'node-http2', core, log: join(dir, 'log'), port };
    const group = await startGroup(process.execPath, [SERVER, JSON.stringify(settings)], options);
    return { group, port, connect: true, authorization: 'Bearer stub', caFile: ca.cert };
  },
};
