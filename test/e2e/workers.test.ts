import { readFileSync } from 'node:fs';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { describe, expect, onTestFinished, test } from 'vitest';
import { canary, leaks } from '../support/canary.ts';
import { connect, header, openTls, type Reply } from '../support/raw-client.ts';
import { hasRedis, startRedis, until } from '../support/redis.ts';
import { startEcho, startHttp } from '../support/upstream.ts';
import { startOidc } from '../support/upstreams/oidc.ts';
import { spawnCrew } from '../support/workers.ts';
import { API, bearer, ISSUER, JWT, ownPage, PROFILES, RULES, told, verdict } from './identity.ts';
import { closing } from './scene.ts';

const HOST = 'api.corp.test';

const reason = (reply: Reply): string => header(reply, 'stubgate-reason') ?? `${reply.status}`;

async function crew(limits?: Readonly<Record<string, unknown>>) {
  const secret = canary('key-');
  const upstream = closing(await startEcho({ hosts: [HOST] }));
  const gate = await spawnCrew({
    credentials: { api: { secret, env: 'API_KEY' } },
    rules: [{ name: 'api', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer' }] }],
    profiles: { default: { rules: ['api'], ...(limits && { limits }) } },
    upstreams: { [HOST]: upstream },
  });
  return { gate, secret };
}

describe.runIf(process.platform === 'linux')('two workers', () => {
  test('serve a session that was just created, its stub and its secret alike', async () => {
    const { gate, secret } = await crew();
    for (let i = 0; i < 3; i++) {
      const session = await gate.session();
      const stub = session.stubs['API_KEY'] ?? '';
      const replies = await gate.atBoth(path => gate.get(session, HOST, path, stub));
      for (const reply of replies) {
        expect(reply.status).toBe(200);
        expect(reply.body.toString()).toContain(stub);
        expect(leaks(reply.body, secret)).toEqual([]);
      }
    }
    expect([...gate.lines().keys()]).toEqual(['audit.jsonl', 'audit.w2.jsonl']);
    expect(await gate.findings()).toEqual([]);
  });

  test('end the tunnels of a revoked session within a second, refuse it, and so does one that starts later', async () => {
    const { gate } = await crew();
    const [session, other] = [await gate.session(), await gate.session()];
    const tunnels = await gate.atBoth(async path => {
      const peer = await openTls(session.proxy, gate.ca, HOST);
      await peer.send(`GET ${path} HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
      await peer.head();
      return peer;
    });
    const kept = await openTls(other.proxy, gate.ca, HOST);
    const from = performance.now();
    await gate.revoke(session.id);
    await Promise.all(tunnels.map(tunnel => tunnel.ended));
    expect(performance.now() - from).toBeLessThan(1000);
    const refused = async (): Promise<string> => {
      const { peer, reply } = await connect(session.proxy, `${HOST}:443`);
      peer.cut();
      return reason(reply);
    };
    for (let i = 0; i < 8; i++) expect(await refused()).toBe('session_revoked');
    const before = gate.workers();
    for (const pid of before) process.kill(pid, 'SIGKILL');
    await until('others are there', async () => {
      const now = gate.workers();
      return now.length === 2 && !now.some(pid => before.includes(pid));
    });
    await kept.ended;
    for (let i = 0; i < 8; i++) expect(await refused()).toBe('session_revoked');
    const replies = await gate.atBoth(path => gate.get(other, HOST, path));
    expect(replies.map(({ status }) => status)).not.toContain(407);
  });

  test('share a budget: not one request more than it allows', async () => {
    const { gate } = await crew({ requests: 40 });
    const session = await gate.session();
    const asked = Array.from({ length: 80 }, (_, i) => `/budget/${i}`);
    const replies: Reply[] = [];
    for (let i = 0; i < asked.length; i += 8)
      replies.push(...(await Promise.all(asked.slice(i, i + 8).map(path => gate.get(session, HOST, path)))));
    const served = replies.filter(({ status }) => status === 200).length;
    expect(replies.filter(reply => reason(reply) === 'rate_limited')).toHaveLength(80 - served);
    // What is taken ahead is given back when nobody wants it: in the end all of it was used.
    expect(served).toBeLessThanOrEqual(40);
    await until('all of the budget is used', async () => {
      const reply = await gate.get(session, HOST, '/budget/more');
      if (reply.status === 200) replies.push(reply);
      return replies.filter(({ status }) => status === 200).length === 40;
    });
    for (let i = 0; i < 8; i++)
      expect(reason(await gate.get(session, HOST, '/budget/over'))).toBe('rate_limited');
    expect(new Set((await Promise.all(asked.map(path => gate.servedBy(path)))).values()).size).toBe(2);
  });

  test('share the tunnels that a session may have open; those of a worker that is killed are free again', async () => {
    const { gate } = await crew({ tunnels: 6 });
    const session = await gate.session();
    const open = async () => connect(session.proxy, `${HOST}:443`);
    const opened = await Promise.all(Array.from({ length: 24 }, open));
    const isOpen = ({ reply }: (typeof opened)[number]): boolean => reply.status === 200;
    expect(opened.filter(isOpen)).toHaveLength(6);
    for (const { peer, reply } of opened) if (reply.status !== 200) peer.cut();
    for (const pid of gate.workers()) process.kill(pid, 'SIGKILL');
    await Promise.all(opened.filter(isOpen).map(({ peer }) => peer.ended));
    const again = await Promise.all(Array.from({ length: 12 }, open));
    expect(again.filter(isOpen)).toHaveLength(6);
    for (const { peer } of again) peer.cut();
  });

  test('resume each other’s TLS sessions', async () => {
    const { gate } = await crew();
    const { proxy } = await gate.session();
    const first = await openTls(proxy, gate.ca, HOST);
    const tls = first.socket as TLSSocket;
    const ticket = new Promise<Buffer>(resolve => tls.once('session', resolve));
    await first.send(`GET /first HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
    await first.head();
    const session = await ticket;
    const reused = await gate.atBoth(async path => {
      const { peer } = await connect(proxy, `${HOST}:443`);
      peer.socket.removeAllListeners('data');
      const socket = connectTls({ socket: peer.socket, ca: gate.ca, servername: HOST, session });
      await new Promise(resolve => socket.once('secureConnect', resolve));
      socket.write(`GET ${path} HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
      await new Promise(resolve => socket.once('data', resolve));
      const isReused = socket.isSessionReused();
      socket.destroy();
      return isReused;
    });
    expect(reused).not.toContain(false);
    expect(reused.length).toBeGreaterThan(1);
  });

  test('use, and scrub, what the other one captured', async () => {
    const handedOut: string[] = [];
    const upstream = closing(
      await startHttp({ hosts: [HOST] }, ({ url, headers }, response) => {
        response.setHeader('content-type', 'application/json');
        const isToken = url?.startsWith('/token') ?? false;
        if (isToken) handedOut.push(canary('gho_'));
        const shown = isToken
          ? { access_token: handedOut.at(-1) }
          : { sent: headers.authorization, all: handedOut };
        response.end(JSON.stringify(shown));
      }),
    );
    const gate = await spawnCrew({
      captured: { user: 'github-oauth' },
      rules: [
        {
          name: 'token',
          hosts: [HOST],
          paths: ['/token'],
          capture: [{ credential: 'user', at: 'json', pointer: '/access_token' }],
        },
        { name: 'api', hosts: [HOST], inject: [{ credential: 'user', as: 'bearer' }] },
      ],
      upstreams: { [HOST]: upstream },
    });
    const session = await gate.session();
    const { access_token: stub } = JSON.parse((await gate.get(session, HOST, '/token')).body.toString()) as {
      access_token: string;
    };
    const replies = await gate.atBoth(path => gate.get(session, HOST, path, stub));
    for (const { body } of replies)
      expect(JSON.parse(body.toString())).toEqual({ sent: `Bearer ${stub}`, all: [stub] });
    expect(handedOut).toHaveLength(1);
  });

  test('open one session for one JWT, and end it together', async () => {
    const issuer = closing(await startOidc(ISSUER));
    const api = closing(await startEcho({ hosts: [API] }));
    const gate = await spawnCrew({
      credentials: { api: { secret: canary(), env: 'API_KEY' } },
      rules: RULES,
      profiles: PROFILES,
      upstreams: { [API]: api, [ISSUER]: issuer },
      config: { identity: [JWT] },
    });
    const token = await issuer.sign({ sub: 'shared' });
    const ask = async () => ownPage(gate.proxyPort, bearer(token));
    const pages = (await Promise.all(Array.from({ length: 16 }, ask))).map(told);
    expect(new Set(pages.map(({ id }) => id)).size).toBe(1);
    expect((await gate.admin('/v1/sessions')).text).toContain(pages[0]?.id);
    expect((await gate.admin(`/v1/sessions/${pages[0]?.id}`, 'DELETE')).status).toBe(200);
    for (let i = 0; i < 16; i++) expect(verdict(await ask())).toBe('407 session_revoked');
  });

  test('count together: metrics, what a session used, and events of both', async () => {
    const { gate } = await crew();
    const session = await gate.session();
    const events = await gate.events();
    const replies = await gate.atBoth(path => gate.get(session, HOST, path));
    const total = [...gate.lines().values()].flat().length;
    expect(total).toBe(replies.length);
    const metrics = async (): Promise<string> => (await gate.admin('/metrics')).text;
    expect(await metrics()).toContain(`\nstubgate_requests_total{verdict="allow",reason=""} ${total}\n`);
    expect(JSON.parse((await gate.admin(`/v1/sessions/${session.id}`)).text)).toMatchObject({
      usage: { allowed: total },
    });
    // What a worker that is gone had told of stays counted.
    for (const pid of gate.workers()) process.kill(pid, 'SIGTERM');
    await until(
      'they were replaced',
      () => gate.logs.filter(({ message }) => message === 'listening').length >= 4,
    );
    await until('two are left', () => gate.workers().length === 2);
    expect(await metrics()).toContain(`\nstubgate_requests_total{verdict="allow",reason=""} ${total}\n`);
    const stub = session.stubs['API_KEY'] ?? '';
    const raised = (): number =>
      [...gate.lines().values()].filter(all => all.some(({ reason: why }) => why === 'stub_misplaced'))
        .length;
    await until('both raised an alarm', async () => {
      await gate.get(session, 'else.corp.test', '/', stub);
      return raised() === 2;
    });
    await gate.revoke(session.id);
    await until('both alarms are told', () => events.all().filter(type => type === 'alarm').length >= 2);
    await until('the end is told', () => events.all().includes('session.ended'));
    expect(events.all().filter(type => type === 'session.ended')).toHaveLength(1);
    events.close();
    expect(await metrics()).toMatch(/\nstubgate_alarms_total\{code="stub_misplaced"\} [2-9]/);
  });

  test('are started with the switches of Node that the gate has, and told nothing else where everybody reads it', async () => {
    const { gate } = await crew();
    for (const pid of gate.workers()) {
      const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      expect(args.slice(1, -1)).toEqual([
        '--disable-sigusr1',
        expect.stringMatching(/main\.ts$/),
        'worker',
        expect.stringMatching(/^[12]$/),
        '--log-level',
        'info',
      ]);
      const added = namesIn(pid).filter(name => !namesIn(gate.pid).includes(name));
      expect(added).toEqual(['NODE_CHANNEL_FD', 'NODE_CHANNEL_SERIALIZATION_MODE']);
    }
  });

  test.skipIf(!hasRedis)('are two more of those that share a Redis', async () => {
    const redis = await startRedis();
    onTestFinished(() => redis.stop());
    const upstream = closing(await startEcho({ hosts: [HOST] }));
    const gate = await spawnCrew({
      rules: [{ name: 'api', hosts: [HOST] }],
      profiles: { default: { rules: ['api'], limits: { requests: 30 } } },
      upstreams: { [HOST]: upstream },
      config: { state: { url: redis.url, grace: '5s' } },
    });
    const session = await gate.session();
    const replies = await gate.atBoth(path => gate.get(session, HOST, path));
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]));
    expect(JSON.parse((await gate.admin(`/v1/sessions/${session.id}`)).text)).toMatchObject({
      usage: { allowed: replies.length },
    });
    let served = replies.length;
    await until('all of the budget is used', async () => {
      if ((await gate.get(session, HOST, '/more')).status === 200) served++;
      return served === 30;
    });
    for (let i = 0; i < 8; i++) expect(reason(await gate.get(session, HOST, '/over'))).toBe('rate_limited');
    await gate.revoke(session.id);
    await until(
      'both refuse it',
      async () => {
        const outcomes = await Promise.all(
          Array.from({ length: 8 }, async () => reason((await connect(session.proxy, `${HOST}:443`)).reply)),
        );
        return outcomes.every(outcome => outcome === 'session_revoked');
      },
      1000,
    );
  });
});

/** Of the variables that a process was started with. */
const namesIn = (pid: number): string[] =>
  readFileSync(`/proc/${pid}/environ`, 'utf8')
    .split('\0')
    .flatMap(line => line.split('=')[0] || []);
