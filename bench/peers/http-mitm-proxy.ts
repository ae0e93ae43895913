import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort, startGroup } from '../processes.ts';
import type { Peer } from './peer.ts';

const SERVER = fileURLToPath(new URL('http-mitm-proxy.server.ts', import.meta.url));

function packageFile(): string | undefined {
  try {
    return createRequire(import.meta.url).resolve('http-mitm-proxy/package.json');
  } catch {
    return undefined;
  }
}

export const httpMitmProxy: Peer = {
  name: 'http-mitm-proxy',
  mints: true,
  missing: () => (packageFile() ? undefined : 'http-mitm-proxy is not installed (npm ci)'),
  version: () => `http-mitm-proxy ${JSON.parse(readFileSync(packageFile() ?? '', 'utf8')).version}`,

  async start({ dir, core, origin }) {
    const port = await freePort();
    const settings = { port, dir, originCa: origin.ca.cert, authorization: origin.authorization };
    const args = [SERVER, JSON.stringify(settings)];
    const group = await startGroup(process.execPath, args, {
      name: 'http-mitm-proxy',
      core,
      log: join(dir, 'log'),
      port,
    });
    const caFile = join(dir, 'certs', 'ca.pem');
    if (!existsSync(caFile)) throw new Error(`http-mitm-proxy made no ${caFile}`);
    return { group, port, connect: true, authorization: 'Bearer stub', caFile };
  },
};
