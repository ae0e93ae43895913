import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { canary } from '../support/canary.ts';
import { needs, type Ran, runOk } from '../support/clients.ts';
import { type ProcessGate, spawnTestGate } from '../support/process.ts';
import { type BulkUpstream, startBulk } from '../support/upstreams/bulk.ts';
import { closing, enter } from './scene.ts';

const HOST = 'bulk.corp.test';
const GIB = 1 << 30;
/** What the gate's process may grow by while a gigabyte passes, KiB. */
const GROWTH = 60 * 1024;
const SLOW = 120_000;

const test = needs(existsSync('/proc/self/status') ? 'curl' : 'procfs');

/** The most memory that a process ever held, KiB. */
function peak(pid: number): number {
  return Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

interface Scene {
  readonly gate: ProcessGate;
  readonly upstream: BulkUpstream;
  readonly download: (bytes: number, query?: string) => Promise<Ran>;
  readonly upload: (bytes: number) => Promise<Ran>;
}

/** A gate in a process of its own, warmed up by 64 MiB each way, so that what is measured is growth. */
async function scene(): Promise<Scene> {
  const upstream = closing(await startBulk(HOST));
  const setup = {
    credentials: { api: { secret: canary(), env: 'API_KEY' } },
    rules: [{ name: 'bulk', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer' }] }],
    upstreams: { [HOST]: upstream },
  };
  const box = await enter(await spawnTestGate(setup));
  const curl = 'curl -sS --fail --http1.1 -H "Authorization: Bearer $API_KEY"';
  const shell = (script: string, variables: Record<string, string>): Promise<Ran> =>
    runOk('sh', ['-c', script], { env: { ...box.env, ...variables }, timeout: 60_000 });
  const made: Scene = {
    gate: box.gate,
    upstream,
    download: (bytes, query = '') =>
      shell(`${curl} "$URL" | sha256sum`, { URL: `https://${HOST}/${bytes}${query}` }),
    upload: bytes =>
      shell(`head -c "$BYTES" /dev/zero | ${curl} -T - "$URL"`, {
        BYTES: String(bytes),
        URL: `https://${HOST}/upload`,
      }),
  };
  await made.download(64 << 20);
  await made.upload(64 << 20);
  return made;
}

for (const [what, bytes, query] of [
  ['a gigabyte comes down at flat memory', GIB, ''],
  ['an answer of unknown length comes down at flat memory', GIB / 4, '?chunked'],
] as const) {
  test(
    what,
    async () => {
      const { gate, upstream, download } = await scene();
      const before = peak(gate.pid);
      const ran = await download(bytes, query);
      expect(ran.stdout.split(' ')[0]).toBe(upstream.sha256(bytes));
      expect(peak(gate.pid) - before).toBeLessThan(GROWTH);
      const line = (await gate.audit(3))[2];
      expect(line).toMatchObject({ method: 'GET', path: `/${bytes}`, status: 200 });
      expect(line?.bytes_out).toBeGreaterThanOrEqual(bytes);
    },
    SLOW,
  );
}

test(
  'a gigabyte goes up at flat memory, of unknown length',
  async () => {
    const { gate, upstream, upload } = await scene();
    const before = peak(gate.pid);
    await upload(GIB);
    const zeros = createHash('sha256');
    const mib = Buffer.alloc(1 << 20);
    for (let i = 0; i < 1024; i++) zeros.update(mib);
    expect(upstream.uploads.at(-1)).toMatchObject({ bytes: GIB, sha256: zeros.digest('hex') });
    expect(peak(gate.pid) - before).toBeLessThan(GROWTH);
    const line = (await gate.audit(3))[2];
    expect(line).toMatchObject({ method: 'PUT', path: '/upload', status: 200 });
    expect(line?.bytes_in).toBeGreaterThanOrEqual(GIB);
  },
  SLOW,
);
