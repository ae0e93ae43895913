import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort, startGroup } from '../processes.ts';
import { OTHER_ROUNDS, type Peer } from './peer.ts';

/** What the process of such a peer gets as its only argument, as JSON. */
export interface NodeSettings {
  readonly port: number;
  /** Empty folder of its own. */
  readonly dir: string;
  /** PEM file that verifies the origin. */
  readonly originCa: string;
  readonly authorization: string;
}

interface NodePeer {
  /** Of the package; the process is `<name>.server.ts`. */
  readonly name: string;
  readonly module: string;
  /** Where it leaves its CA certificate, within its folder. */
  readonly caFile: string;
  readonly h2?: boolean;
}

/** A library of npm, in a process of its own under the same Node as the gate. */
export function nodePeer({ name, module, caFile, h2 = false }: NodePeer): Peer {
  const server = fileURLToPath(new URL(`${name}.server.ts`, import.meta.url));
  return {
    name,
    mints: true,
    h2,
    rounds: OTHER_ROUNDS,
    missing: () =>
      manifest(module) ? undefined : `${module} is not installed (npm install --no-save ${module})`,
    version: () => `${name} ${JSON.parse(readFileSync(manifest(module) ?? '', 'utf8')).version}`,

    async start({ dir, core, origin }) {
      const port = await freePort();
      const settings: NodeSettings = {
        port,
        dir,
        originCa: origin.ca.cert,
        authorization: origin.authorization,
      };
      const args = [server, JSON.stringify(settings)];
      const env = { PATH: process.env['PATH'], HOME: dir, TMPDIR: dir };
      const group = await startGroup(process.execPath, args, {
        name,
        core,
        log: join(dir, 'log'),
        port,
        env,
      });
      const ca = join(dir, caFile);
      if (!existsSync(ca)) throw new Error(`${name} made no ${ca}`);
      return { group, port, connect: true, authorization: 'Bearer stub', caFile: ca };
    },
  };
}

/** Its package.json, which not every package lets be resolved by name. */
function manifest(module: string): string | undefined {
  for (const folder of createRequire(import.meta.url).resolve.paths(module) ?? []) {
    const file = join(folder, module, 'package.json');
    if (existsSync(dirname(file))) return file;
  }
  return undefined;
}
