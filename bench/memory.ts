import { setTimeout as delay } from 'node:timers/promises';
import { hold, load, route } from './loadgen.ts';
import { HUGE_BYTES, MB, type Origin, PATHS } from './origin.ts';
import type { Running } from './peers/peer.ts';
import { firstChunk, get, openTunnel } from './tunnel.ts';

export const IDLE_TUNNELS = 1000;
/** A proxy that buffers without bound is not fed beyond this. */
const ENOUGH_BYTES = 1500 * MB;

/** Bytes of resident memory. */
export interface IdleMemory {
  readonly before: number;
  readonly after: number;
}

/** What `seconds` of 16 busy tunnels leave behind, so that code and pools are not counted as the cost of what follows. */
async function warmUp(core: number, origin: Origin, running: Running, seconds: number): Promise<void> {
  await load(core, { ...route(origin, running), c: 16, d: seconds, p: PATHS.small });
  await delay(500);
}

/** Memory before and with 1,000 tunnels, each of which has carried one request. */
export async function idleMemory(
  core: number,
  origin: Origin,
  running: Running,
  warm: number,
): Promise<IdleMemory> {
  await warmUp(core, origin, running, warm);
  const before = running.group.rss();
  const options = { ...route(origin, running), i: 30, d: 30, c: IDLE_TUNNELS, p: PATHS.small };
  return hold(core, options, async ({ held, last_error }) => {
    if (held !== IDLE_TUNNELS) throw new Error(`only ${held} of ${IDLE_TUNNELS} idle tunnels: ${last_error}`);
    await delay(500);
    return { before, after: running.group.rss() };
  });
}

/** Most memory that the proxy takes on while a client has asked for 1 GB and does not read on, bytes. */
export async function stalledReader(
  core: number,
  origin: Origin,
  running: Running,
  seconds: number,
): Promise<number> {
  await warmUp(core, origin, running, 1);
  const before = running.group.rss();
  const tls = await openTunnel(origin, running);
  try {
    tls.write(get(origin, running, PATHS.huge, false));
    const first = await firstChunk(tls);
    if (!first.toString('latin1').startsWith('HTTP/1.1 200'))
      throw new Error(`1 GB reply: ${first.toString('latin1', 0, 40)}`);
    let growth = 0;
    const until = Date.now() + seconds * 1000;
    while (Date.now() < until && growth < ENOUGH_BYTES) {
      await delay(50);
      growth = Math.max(growth, running.group.rss() - before);
    }
    await readToTheEnd(tls, first.length);
    return growth;
  } finally {
    tls.destroy();
  }
}

/** A proxy that cut the stalled client off would be cheap, too: the reply must still arrive, all of it. */
async function readToTheEnd(tls: NodeJS.ReadableStream, already: number): Promise<void> {
  let bytes = already;
  const complete = new Promise<void>((resolve, reject) => {
    tls.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes >= HUGE_BYTES) resolve();
    });
    tls.on('error', reject);
    tls.on('end', () => reject(new Error(`the reply ended after ${bytes} bytes`)));
  });
  tls.resume();
  const late = delay(30_000, undefined, { ref: false }).then(() => {
    throw new Error(`only ${bytes} bytes of the reply arrived`);
  });
  await Promise.race([complete, late]);
}
