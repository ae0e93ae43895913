import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openAuthority } from '../../src/intercept/ca.ts';
import { canary, leaks } from '../support/canary.ts';
import type { TestSession } from '../support/gate.ts';
import { type ProcessGate, spawnTestGate } from '../support/process.ts';
import { header, openTls, readReply, type Reply } from '../support/raw-client.ts';
import { dump, hasRedis, startRedis, tap, type TestRedis, until } from '../support/redis.ts';
import { tempFolder } from '../support/temp.ts';
import { type HttpUpstream, startHttp } from '../support/upstream.ts';
import { closing } from './scene.ts';

const HOST = 'api.corp.test';

interface Fleet {
  readonly redis: TestRedis;
  readonly upstream: HttpUpstream;
  readonly handedOut: string[];
  readonly gates: readonly [ProcessGate, ProcessGate];
}

async function fleet(): Promise<Fleet> {
  const redis = await startRedis();
  onTestFinished(() => redis.stop());
  const handedOut: string[] = [];
  const upstream = closing(
    await startHttp({ hosts: [HOST] }, ({ url, headers }, response) => {
      response.setHeader('content-type', 'application/json');
      if (url === '/token') handedOut.push(canary('gho_'));
      const shown =
        url === '/token'
          ? { access_token: handedOut.at(-1) }
          : { sent: headers.authorization, all: handedOut };
      response.end(JSON.stringify(shown));
    }),
  );
  const ca = tempFolder('fleet-ca');
  openAuthority({ dir: ca });
  const gate = async (): Promise<ProcessGate> => {
    const made = await spawnTestGate({
      captured: { user: 'github-oauth' },
      rules: [
        {
          name: 'token',
          hosts: [HOST],
          paths: ['/token'],
          capture: [{ credential: 'user', at: 'json', pointer: '/access_token' }],
        },
        { name: 'api', hosts: [HOST], paths: ['/user'], inject: [{ credential: 'user', as: 'bearer' }] },
        { name: 'rest', hosts: [HOST] },
      ],
      upstreams: { [HOST]: upstream },
      config: {
        ca: { dir: './certs', cert: join(ca, 'ca.pem'), key: join(ca, 'ca.key') },
        state: { url: redis.url, grace: '5s' },
      },
    });
    onTestFinished(() => made.stop());
    return made;
  };
  return { redis, upstream, handedOut, gates: [await gate(), await gate()] };
}

async function get(gate: ProcessGate, { proxy }: TestSession, path: string, stub?: string): Promise<Reply> {
  const peer = await openTls({ ...proxy, port: gate.proxyPort }, gate.ca, HOST);
  await peer.send(
    `GET ${path} HTTP/1.1\r\nHost: ${HOST}\r\n${stub === undefined ? '' : `Authorization: Bearer ${stub}\r\n`}\r\n`,
  );
  const reply = await readReply(peer);
  peer.cut();
  return reply;
}

const tokenOf = (reply: Reply): string =>
  String((JSON.parse(reply.body.toString()) as Record<string, string>)['access_token']);

describe.skipIf(!hasRedis)('two gates on one Redis', () => {
  test('what one captured the other uses, and scrubs; nothing of it stands in Redis', async () => {
    const { redis, handedOut, gates } = await fleet();
    const [one, other] = gates;
    const tapped = await tap(redis);
    onTestFinished(() => tapped.close());
    const session = await one.session();
    // The other has asked what there is, and there was nothing.
    await get(other, session, '/user');
    const stubs: string[] = [];
    for (const gate of [one, other, one, other]) {
      const stub = tokenOf(await get(gate, session, '/token'));
      stubs.push(stub);
      const across = gate === one ? other : one;
      const used = JSON.parse((await get(across, session, '/user', stub)).body.toString()) as {
        sent: string;
        all: string[];
      };
      expect(used).toEqual({ sent: `Bearer ${stub}`, all: stubs });
    }
    expect(new Set(stubs).size).toBe(4);
    // At once, both at the same time.
    await Promise.all([...gates, ...gates].map(gate => get(gate, session, '/token')));
    const all = JSON.parse((await get(other, session, '/user', stubs[0])).body.toString()) as {
      all: string[];
    };
    expect(all.all).toHaveLength(8);
    for (const secret of handedOut) expect(leaks(JSON.stringify(all), secret)).toEqual([]);
    await one.revoke(session.id);
    await until('it is gone', async () => !/blob/.test((await redisKeys(redis)).join()));
    const said = `${tapped.text}${await dump(redis)}`;
    for (const secret of [...handedOut, ...stubs]) expect(leaks(said, secret)).toEqual([]);
  });

  test('without Redis nothing is handed out; what is known here still serves', async () => {
    const { redis, gates, handedOut } = await fleet();
    const [one, other] = gates;
    const session = await one.session();
    await get(other, session, '/rest');
    const stub = tokenOf(await get(one, session, '/token'));
    redis.signal('SIGSTOP');
    const withheld = await get(one, session, '/token');
    expect(header(withheld, 'stubgate-reason')).toBe('state_unavailable');
    expect(leaks(withheld.body, handedOut[1] ?? '')).toEqual([]);
    const used = await get(one, session, '/user', stub);
    expect(JSON.parse(used.body.toString())).toMatchObject({ sent: `Bearer ${stub}` });
    for (const secret of handedOut) expect(leaks(used.body, secret)).toEqual([]);
    expect(header(await get(other, session, '/user', stub), 'stubgate-reason')).toBe('state_unavailable');
    redis.signal('SIGCONT');
    await until('all goes on', async () => (await get(other, session, '/user', stub)).status === 200);
  });
});

async function redisKeys(redis: TestRedis): Promise<string[]> {
  return (await dump(redis)).match(/\{stubgate\}:[\w:]+/g) ?? [];
}
