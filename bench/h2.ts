import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { DOMAIN, type Origin, PATHS, startOrigin } from './origin.ts';
import { nodeHttp2 } from './peers/node-http2.ts';
import type { Peer, Running } from './peers/peer.ts';
import { pinned } from './processes.ts';
import type { Plan } from './rounds.ts';
import { note, type Scores } from './scores.ts';
import { type Setting, startPeer } from './start.ts';
import { firstBytes } from './tunnel.ts';

export const H2_WORK = 'h2';
const STREAMS = 16;
/** Requests before the counted ones, and per second of a sample: h2load counts requests, not time. */
const WARM_UP = 2000;
const PER_SECOND = 5000;
const HOST = `api.${DOMAIN}`;

/** What the origin speaks: nothing but HTTP/1.1, or HTTP/2, too. */
const UPSTREAMS = ['HTTP/1.1', 'HTTP/2'] as const;
type Upstream = (typeof UPSTREAMS)[number];

const row = (upstream: Upstream) => {
  const suffix = upstream === 'HTTP/2' ? 'H2ToH2' : 'H2';
  const what = `HTTP/2 to ${upstream}, 16 streams in 1 tunnel`;
  return {
    rps: { key: `rps${suffix}`, label: `requests/s, ${what}`, better: 'higher' },
    cpu: { key: `cpu${suffix}`, label: `CPU per request, ${what}, µs`, better: 'lower' },
  } as const;
};

/** Small JSON over HTTP/2, 16 streams in one tunnel, by nghttp2's h2load: to an origin of HTTP/1.1, then of HTTP/2. */
export async function measureH2(
  setting: Setting,
  plan: Plan,
  all: readonly Peer[],
  scores: Scores,
): Promise<void> {
  if (!plan.work.includes(H2_WORK)) return;
  if (spawnSync('h2load', ['--version']).status !== 0) {
    note('skipped h2: h2load is not there (Debian: apt-get install nghttp2-client)');
    return;
  }
  const able = [...all.filter(peer => peer.h2 === true && peer.missing() === undefined), nodeHttp2];
  for (const upstream of UPSTREAMS) {
    const origin = await startOrigin(
      join(setting.dir, `origin ${upstream}`.replaceAll(/\W/g, '-')),
      setting.loadCore,
      upstream === 'HTTP/2',
    ); // oxlint-disable-line no-await-in-loop -- one after the other
    await measure({ ...setting, origin }, plan, able, upstream, scores); // oxlint-disable-line no-await-in-loop
    await origin.group.stop(); // oxlint-disable-line no-await-in-loop
  }
}

async function measure(
  setting: Setting,
  plan: Plan,
  able: readonly Peer[],
  upstream: Upstream,
  scores: Scores,
): Promise<void> {
  const running = [];
  for (const peer of able) running.push({ name: peer.name, proxy: await startPeer(setting, peer) });
  for (const { proxy } of running) await sample(setting, proxy, 2 * PER_SECOND);
  const { rps: rpsRow, cpu: cpuRow } = row(upstream);
  for (let round = 0; round < plan.rounds; round++) {
    note(`round ${round + 1} of ${plan.rounds}: ${H2_WORK} to ${upstream}`);
    for (const { name, proxy } of running) {
      try {
        const { rps, cpu } = await sample(setting, proxy, Math.round(plan.seconds * PER_SECOND));
        scores.add(rpsRow, name, rps);
        scores.add(cpuRow, name, cpu);
      } catch (error) {
        scores.fail(name, `${H2_WORK} to ${upstream}, round ${round + 1}`, error);
      }
    }
  }
  for (const { proxy } of running) await proxy.group.stop();
}

/** CPU in µs per request. */
export async function sample(
  { origin, loadCore }: Setting,
  proxy: Running,
  requests: number,
): Promise<{ rps: number; cpu: number }> {
  const relay = await startRelay(origin, proxy);
  try {
    const { port } = relay.address() as AddressInfo;
    const run = (n: number): Promise<number> =>
      h2load(loadCore, port, `https://${HOST}:${origin.port}${PATHS.small}`, proxy.authorization, n);
    await run(WARM_UP);
    const before = proxy.group.cpu();
    const rps = await run(requests);
    return { rps, cpu: ((proxy.group.cpu() - before) / requests) * 1e6 };
  } finally {
    relay.close();
  }
}

/** A loopback port behind which the proxy's TLS begins: h2load knows no CONNECT. It works on the load's core. */
async function startRelay(origin: Origin, proxy: Running): Promise<Server> {
  const server = createServer({ pauseOnConnect: true, noDelay: true }, client => {
    const tunnel = connect({ port: proxy.port, host: '127.0.0.1', noDelay: true });
    for (const [one, other] of [
      [client, tunnel],
      [tunnel, client],
    ] as const) {
      one.on('error', () => {});
      one.on('close', () => other.destroy());
    }
    const begin = (): void => void client.pipe(tunnel).pipe(client);
    if (!proxy.connect) return begin();
    const authority = `${HOST}:${origin.port}`;
    tunnel.write(
      `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${proxy.connectHeader ?? ''}\r\n\r\n`,
    );
    firstBytes(tunnel).then(begin, () => client.destroy());
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return server;
}

/** Requests per second. Rejects unless every answer is a 2xx over HTTP/2. */
function h2load(core: number, port: number, url: string, authorization: string, n: number): Promise<number> {
  const options = ['-c', '1', '-m', `${STREAMS}`, '-n', `${n}`, `--connect-to=127.0.0.1:${port}`];
  const [command, args] = pinned(core, 'h2load', [...options, '-H', `authorization: ${authorization}`, url]);
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    child.on('error', reject);
    child.on('close', () => {
      const rps = /finished in [^,]+, ([\d.]+) req\/s/.exec(text)?.[1];
      const isGood = text.includes('Application protocol: h2') && text.includes(`status codes: ${n} 2xx`);
      if (isGood && rps !== undefined) resolve(Number(rps));
      else reject(new Error(`not every answer was good: ${/status codes:.*/.exec(text)?.[0] ?? text}`));
    });
  });
}
