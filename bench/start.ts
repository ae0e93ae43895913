import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fault, load, route } from './loadgen.ts';
import { type Origin, PATHS } from './origin.ts';
import type { Peer, Running } from './peers/peer.ts';
import { note, reason } from './scores.ts';

/** Requests and seconds, whichever ends first: until a compiler at run time has seen enough. */
const WARM_UP = { n: 40_000, d: 3 };

export interface Setting {
  readonly dir: string;
  readonly origin: Origin;
  readonly loadCore: number;
  readonly proxyCore: number;
  readonly hosts: readonly string[];
}

export interface Started {
  readonly running: readonly { readonly peer: Peer; readonly proxy: Running }[];
  readonly versions: Readonly<Record<string, string>>;
  readonly skipped: readonly string[];
  readonly failed: readonly string[];
}

let folders = 0;

export async function startPeer<P extends Peer>(
  { dir, origin, proxyCore, hosts }: Setting,
  peer: P,
): Promise<Awaited<ReturnType<P['start']>>> {
  const own = join(dir, `${peer.name}-${++folders}`);
  mkdirSync(own, { mode: 0o711 });
  return (await peer.start({ dir: own, core: proxyCore, origin, hosts })) as Awaited<ReturnType<P['start']>>;
}

/** What the proxy negotiates, once it has shown that it works. */
async function check({ origin, loadCore }: Setting, proxy: Running): Promise<string> {
  const options = { ...route(origin, proxy), V: proxy.caFile, n: 20, c: 2, d: 5, p: PATHS.small };
  const result = await load(loadCore, options);
  const wrong = fault(result);
  if (wrong !== undefined) throw new Error(wrong);
  await proxy.prove?.();
  await load(loadCore, { ...route(origin, proxy), c: 16, ...WARM_UP, p: PATHS.small });
  return result.cipher;
}

/** Starts each peer and sees that it does the work, with verified certificates. */
export async function startPeers(setting: Setting, peers: readonly Peer[]): Promise<Started> {
  const running: { peer: Peer; proxy: Running }[] = [];
  const versions: Record<string, string> = {};
  const skipped: string[] = [];
  const failed: string[] = [];
  for (const peer of peers) {
    const missing = peer.missing();
    if (missing !== undefined) {
      skipped.push(`${peer.name}: ${missing}`);
      note(`skipped ${peer.name}: ${missing}`);
      continue;
    }
    try {
      const proxy = await startPeer(setting, peer);
      const cipher = await check(setting, proxy).catch(async (error: unknown) => {
        await proxy.group.stop();
        throw error;
      });
      running.push({ peer, proxy });
      versions[peer.name] = `${peer.version()} (${cipher})`;
      note(`started ${peer.name}`);
    } catch (error) {
      failed.push(`${peer.name}: ${reason(error)}`);
      note(`failed ${peer.name}: ${reason(error)}`);
    }
  }
  return { running, versions, skipped, failed };
}
