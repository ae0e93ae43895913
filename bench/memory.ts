import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { good, hold, load, route } from './loadgen.ts';
import { MB, type Origin, PATHS } from './origin.ts';
import { REFERENCES } from './peers/index.ts';
import type { Peer, Running } from './peers/peer.ts';
import type { Plan } from './rounds.ts';
import { note, type Scores } from './scores.ts';
import { type Setting, type Started, startPeer } from './start.ts';
import { firstBytes, get, openTunnel } from './tunnel.ts';
import { MEMORY_WORKS } from './works.ts';

/** Tunnels that are open and idle, by work. */
const TUNNELS = { idle: 1000, idle10k: 10_000 } as const;
/** Works that not every peer has the descriptors for, or a run the time. */
const FOR_REFERENCES: ReadonlySet<string> = new Set(['idle10k', 'load']);
/** Longest time that the opening of all of them may take, s. */
const OPENING = 90;
/** A proxy that buffers without bound is not fed beyond this. */
const ENOUGH_BYTES = 1500 * MB;
/** What must arrive once the client reads on. */
const MORE_BYTES = 100 * MB;

/** Bytes of resident memory. */
interface IdleMemory {
  readonly before: number;
  readonly after: number;
}

/** What `seconds` of 16 busy tunnels leave behind, so that code and pools are not counted as the cost of what follows. */
async function warmUp(core: number, origin: Origin, running: Running, seconds: number): Promise<void> {
  await load(core, { ...route(origin, running), c: 16, d: seconds, p: PATHS.small });
  await delay(500);
}

/** Memory before and with many tunnels, each of which has carried one request; none may be lost, and each carries one more. */
async function idleMemory(
  core: number,
  origin: Origin,
  running: Running,
  { tunnels, warm }: { readonly tunnels: number; readonly warm: number },
): Promise<IdleMemory> {
  await warmUp(core, origin, running, warm);
  const before = running.group.rss();
  const options = { ...route(origin, running), i: 60, d: OPENING, c: tunnels, p: PATHS.small };
  const { whileHeld, end } = await hold(core, options, async ({ held, last_error }) => {
    if (held !== tunnels) throw new Error(`only ${held} of ${tunnels} idle tunnels: ${last_error}`);
    await delay(500);
    return { before, after: running.group.rss() };
  });
  const { again, dropped, last_error } = end;
  if (again !== tunnels)
    throw new Error(
      `only ${again} of ${tunnels} tunnels carried one more request, ${dropped} were closed: ${last_error}`,
    );
  return whileHeld;
}

/** Most memory while 16 tunnels are busy for `seconds`, bytes. */
async function loadedMemory(
  core: number,
  origin: Origin,
  running: Running,
  seconds: number,
): Promise<number> {
  let most = 0;
  const look = setInterval(() => (most = Math.max(most, running.group.rss())), 100);
  try {
    good(await load(core, { ...route(origin, running), c: 16, d: seconds, p: PATHS.small }));
  } finally {
    clearInterval(look);
  }
  return most;
}

/** Most memory that the proxy takes on while a client has asked for 1 GB and does not read on, bytes. */
async function stalledReader(
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
    const first = await firstBytes(tls);
    if (!first.startsWith('HTTP/1.1 200 ')) throw new Error(`the answer was ${first.slice(0, 40)}`);
    let growth = 0;
    const until = Date.now() + seconds * 1000;
    while (Date.now() < until && growth < ENOUGH_BYTES) {
      await delay(50);
      growth = Math.max(growth, running.group.rss() - before);
    }
    await readOn(tls);
    return growth;
  } finally {
    tls.destroy();
  }
}

/** A proxy that cut the stalled client off would be cheap, too: the reply must go on. */
async function readOn(socket: Socket): Promise<void> {
  let bytes = 0;
  const enough = new Promise<void>((resolve, reject) => {
    socket.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes >= MORE_BYTES) resolve();
    });
    socket.on('error', reject);
    socket.on('end', () => reject(new Error(`the reply ended ${bytes} bytes after the pause`)));
  });
  socket.resume();
  const late = delay(30_000, undefined, { ref: false }).then(() => {
    throw new Error(`only ${bytes} bytes of the reply arrived after the pause`);
  });
  await Promise.race([enough, late]);
}

const lower = { better: 'lower' } as const;
const ROWS = {
  idle: [
    { ...lower, key: 'idle', label: 'memory with 1,000 idle tunnels, MB' },
    { ...lower, key: 'perTunnel', label: 'memory per idle tunnel, KB' },
  ],
  idle10k: [
    { ...lower, key: 'idle10k', label: 'memory with 10,000 idle tunnels, MB' },
    { ...lower, key: 'perTunnel10k', label: 'memory per tunnel of 10,000, KB' },
  ],
  load: { ...lower, key: 'load', label: 'most memory with 16 busy tunnels, MB' },
  stalled: { ...lower, key: 'stalled', label: 'growth while a client does not read 1 GB, MB' },
} as const;

/** Each on a fresh process: what a loaded one has freed it would use again, unseen. */
export async function measureMemory(
  setting: Setting,
  plan: Plan,
  { running }: Started,
  scores: Scores,
): Promise<void> {
  const { origin, loadCore } = setting;
  const fresh = async (
    peer: Peer,
    what: string,
    measure: (proxy: Running) => Promise<void>,
  ): Promise<void> => {
    try {
      const proxy = await startPeer(setting, peer);
      try {
        await measure(proxy);
      } finally {
        await proxy.group.stop();
      }
    } catch (error) {
      scores.fail(peer.name, what, error);
    }
  };
  for (const what of MEMORY_WORKS.filter(name => plan.work.includes(name))) {
    note(what);
    for (const { peer } of running) {
      if (FOR_REFERENCES.has(what) && !REFERENCES.includes(peer.name)) continue;
      await fresh(peer, what, async proxy => {
        if (what === 'stalled') {
          const growth = await stalledReader(loadCore, origin, proxy, plan.seconds * 2);
          scores.add(ROWS.stalled, peer.name, growth / MB);
        } else if (what === 'load') {
          const most = await loadedMemory(loadCore, origin, proxy, plan.seconds * 3);
          scores.add(ROWS.load, peer.name, most / MB);
        } else {
          const tunnels = TUNNELS[what];
          const { before, after } = await idleMemory(loadCore, origin, proxy, {
            tunnels,
            warm: plan.seconds,
          });
          scores.add(ROWS[what][0], peer.name, after / MB);
          scores.add(ROWS[what][1], peer.name, (after - before) / tunnels / 1e3);
        }
      });
    }
  }
}
