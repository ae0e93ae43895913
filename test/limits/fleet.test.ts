import { join } from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { openAuthority } from '../../src/intercept/ca.ts';
import { ownPage } from '../e2e/identity.ts';
import { closing } from '../e2e/scene.ts';
import { type LocalGate, startTestGate, type TestSession } from '../support/gate.ts';
import { connect, header, readReply, request, type Reply, wrapTls } from '../support/raw-client.ts';
import { dump, hasRedis, startRedis, type TestRedis, until } from '../support/redis.ts';
import { tempFolder } from '../support/temp.ts';
import { type HttpUpstream, startEcho } from '../support/upstream.ts';
import { openOne, options } from '../state/redis/states.ts';

const HOST = 'api.corp.test';

describe.skipIf(!hasRedis)('budgets in Redis', () => {
  let redis: TestRedis;
  beforeEach(async () => {
    redis = await startRedis();
    onTestFinished(() => redis.stop());
  });

  test('are taken exactly, ahead only of what is plenty, and given back', async () => {
    const { permits } = await openOne(options(redis.port));
    const budget = { capacity: 100, perMs: 0 };
    expect(await permits?.take('a', budget, 10, 5, 60_000)).toEqual({ permits: 15, left: 85 });
    expect(await permits?.take('a', budget, 80, 5, 60_000)).toEqual({ permits: 80, left: 5 });
    expect(await permits?.take('a', budget, 9, 5, 60_000)).toEqual({ permits: 5, left: 0 });
    expect(await permits?.take('a', budget, 1, 5, 60_000)).toEqual({ permits: 0, left: 0 });
    await permits?.giveBack('a', budget, 3, 60_000);
    expect(await permits?.take('a', budget, 9, 0, 60_000)).toEqual({ permits: 3, left: 0 });
    expect(await permits?.take('b', budget, 1, 0, 60_000)).toEqual({ permits: 1, left: 99 });
  });

  test('fill again evenly, and end once they are whole', async () => {
    const { permits } = await openOne(options(redis.port));
    const budget = { capacity: 10, perMs: 0.1 };
    expect((await permits?.take('a', budget, 10, 0, 20))?.permits).toBe(10);
    await until('one is back', async () => (await permits?.take('a', budget, 1, 0, 20))?.permits === 1, 1000);
    await until('it is whole, and gone', async () => (await redis.admin.keys('*budget*')).length === 0, 2000);
  });

  test('slots: no more than there are, at all gates, and those of a gate that is gone end', async () => {
    const [one, other] = [await openOne(options(redis.port)), await openOne(options(redis.port))];
    expect(await one.permits?.hold('t', 2, 'a')).toBe(true);
    expect(await other.permits?.hold('t', 2, 'b')).toBe(true);
    expect(await one.permits?.hold('t', 2, 'c')).toBe(false);
    other.permits?.free('t', 'b');
    await until('it is free', async () => (await one.permits?.hold('t', 2, 'd')) === true, 1000);
    const [key = ''] = await redis.admin.keys('*slots*');
    expect(await redis.admin.pttl(key)).toBeGreaterThan(0);
  });

  test('no name stands there in plain', async () => {
    const { permits } = await openOne(options(redis.port));
    await permits?.take('session s_abcdef requests', { capacity: 1, perMs: 0 }, 1, 0, 60_000);
    await permits?.hold('session s_abcdef', 1, 'x');
    expect(await dump(redis)).not.toMatch(/s_abcdef/);
  });
});

interface Fleet {
  readonly redis: TestRedis;
  readonly gates: readonly [LocalGate, LocalGate];
  readonly upstream: HttpUpstream;
  readonly session: TestSession;
}

async function openFleet(limits: Readonly<Record<string, unknown>>): Promise<Fleet> {
  const redis = await startRedis();
  onTestFinished(() => redis.stop());
  const ca = tempFolder('fleet-ca');
  openAuthority({ dir: ca });
  const upstream = closing(await startEcho({ hosts: [HOST] }));
  const gate = async (): Promise<LocalGate> => {
    const one = await startTestGate({
      rules: [{ name: 'api', hosts: [HOST] }],
      profiles: { default: { rules: ['api'], limits } },
      upstreams: { [HOST]: upstream },
      config: {
        ca: { dir: './certs', cert: join(ca, 'ca.pem'), key: join(ca, 'ca.key') },
        state: { url: redis.url, grace: '4s' },
      },
    });
    onTestFinished(() => one.stop());
    return one;
  };
  const gates = [await gate(), await gate()] as const;
  return { redis, gates, upstream, session: await gates[0].session() };
}

const at = ({ gates, session }: Fleet, which: number, as = session) => ({
  ...as.proxy,
  port: (gates[which % 2] as LocalGate).proxyPort,
});

async function get(fleet: Fleet, which: number, as = fleet.session): Promise<Reply> {
  const { ca } = fleet.gates[which % 2] as LocalGate;
  return (await request(at(fleet, which, as), ca, HOST, `GET / HTTP/1.1\r\nHost: ${HOST}`)).reply;
}

const codeOf = (reply: Reply): string => header(reply, 'stubgate-reason') ?? `${reply.status}`;

describe.skipIf(!hasRedis)('two gates on one Redis', () => {
  test('share the requests of a session: never one more, and none is lost', async () => {
    const fleet = await openFleet({ requests: 40 });
    const codes = (await Promise.all(Array.from({ length: 100 }, (_, i) => get(fleet, i)))).map(codeOf);
    expect(codes.filter(code => code === '200').length).toBe(fleet.upstream.requests.length);
    expect(fleet.upstream.requests.length).toBeLessThanOrEqual(40);
    expect(new Set(codes)).toEqual(new Set(['200', 'rate_limited']));
    // What a gate had taken ahead is given back when nobody wants it there.
    await until(
      'all are used',
      async () => {
        await get(fleet, fleet.upstream.requests.length);
        return fleet.upstream.requests.length >= 40;
      },
      10_000,
    );
    expect([codeOf(await get(fleet, 0)), codeOf(await get(fleet, 1))]).toEqual([
      'rate_limited',
      'rate_limited',
    ]);
    expect(fleet.upstream.requests.length).toBe(40);
  });

  test('share the rate of a profile: the burst, and what came back, is all that passes', async () => {
    const fleet = await openFleet({ per: 'profile', requests_per_second: 10, burst: 20 });
    const other = await fleet.gates[1].session();
    const from = performance.now();
    const ask = (_: unknown, i: number) => get(fleet, i, i % 3 ? fleet.session : other);
    const replies = await Promise.all(Array.from({ length: 100 }, ask));
    const seconds = (performance.now() - from) / 1000;
    const passed = replies.filter(({ status }) => status === 200).length;
    expect(passed).toBeLessThanOrEqual(20 + Math.ceil(10 * seconds));
    expect(passed).toBeGreaterThanOrEqual(15);
  });

  test('share a rate that the pages of the gate itself take of, too', async () => {
    const fleet = await openFleet({ requests_per_second: 1, burst: 5 });
    const from = performance.now();
    const page = async (_: unknown, i: number) => {
      const { port, authorization } = at(fleet, i);
      return codeOf(await ownPage(port, authorization));
    };
    const codes = await Promise.all(Array.from({ length: 30 }, page));
    const more = Math.ceil((performance.now() - from) / 1000);
    expect(codes.filter(code => code === '200').length).toBeLessThanOrEqual(5 + more);
    expect(new Set(codes)).toEqual(new Set(['200', 'rate_limited']));
  });

  test('share tunnels: no more are open than may be, wherever', async () => {
    const fleet = await openFleet({ tunnels: 3 });
    const opened = await Promise.all(
      Array.from({ length: 8 }, (_, i) => connect(at(fleet, i), `${HOST}:443`)),
    );
    expect(opened.filter(({ reply }) => reply.status === 200)).toHaveLength(3);
    expect(opened.filter(({ reply }) => codeOf(reply) === 'rate_limited')).toHaveLength(5);
    for (const { peer } of opened) peer.cut();
    const isServed = (): Promise<boolean> =>
      get(fleet, 1).then(
        ({ status }) => status === 200,
        () => false, // no tunnel yet
      );
    await until('there is room', isServed, 3000);
  });

  test('Redis away: what is paid for is used, then nothing; back, and all goes on', async () => {
    const fleet = await openFleet({ requests: 200 });
    expect((await get(fleet, 0)).status).toBe(200);
    fleet.redis.signal('SIGSTOP');
    const codes: string[] = [];
    while (codes.at(-1) !== 'state_unavailable' && codes.length < 20) codes.push(codeOf(await get(fleet, 0)));
    expect(codes.length).toBeLessThan(20);
    expect(new Set(codes)).toEqual(new Set(['200', 'state_unavailable']));
    fleet.redis.signal('SIGCONT');
    await until('it goes on', async () => (await get(fleet, 0)).status === 200, 5000);
  });

  test('bytes of a body are paid for before they go on', async () => {
    const fleet = await openFleet({ bytes_out: '64KiB' });
    const post = async (which: number) => {
      const { peer } = await connect(at(fleet, which), `${HOST}:443`);
      onTestFinished(() => peer.cut());
      const tls = await wrapTls(peer, { ca: (fleet.gates[which] as LocalGate).ca, servername: HOST });
      await tls.send(`POST / HTTP/1.1\r\nHost: ${HOST}\r\nTransfer-Encoding: chunked\r\n\r\n`);
      for (let i = 0; i < 10; i++) await tls.send(`fa0\r\n${'x'.repeat(4000)}\r\n`);
      await tls.send('0\r\n\r\n');
      return codeOf(await readReply(tls));
    };
    expect(await post(0)).toBe('200');
    expect(await post(1)).toBe('rate_limited');
    expect(fleet.upstream.requests.map(({ body }) => body.toString())).toEqual(['x'.repeat(40_000)]);
  });
});
