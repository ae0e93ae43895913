import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { openAuthority } from '../../src/intercept/ca.ts';
import { canary, leaks } from '../support/canary.ts';
import type { TestSession } from '../support/gate.ts';
import { type ProcessGate, spawnTestGate } from '../support/process.ts';
import { connect, header, readReply, wrapTls } from '../support/raw-client.ts';
import { dump, hasRedis, startRedis, tap, type TestRedis, until } from '../support/redis.ts';
import { tempFolder } from '../support/temp.ts';
import { startHttp } from '../support/upstream.ts';
import { closing } from './scene.ts';

const HOST = 'api.corp.test';
const GRACE_MS = 5000;

/** `served`: answered as the upstream did; else why not. */
type Outcome = string;

class Fleet {
  readonly redis: TestRedis;
  readonly secret = canary('key-');
  readonly #ca = tempFolder('fleet-ca');
  readonly #upstream: Awaited<ReturnType<typeof startHttp>>;

  constructor(redis: TestRedis, upstream: (secret: string) => Awaited<ReturnType<typeof startHttp>>) {
    this.redis = redis;
    openAuthority({ dir: this.#ca });
    this.#upstream = upstream(this.secret);
  }

  async gate(): Promise<ProcessGate> {
    const gate = await spawnTestGate({
      credentials: { api: { secret: this.secret, env: 'API_KEY' } },
      rules: [{ name: 'api', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer', required: true }] }],
      upstreams: { [HOST]: this.#upstream },
      config: {
        ca: { dir: './certs', cert: join(this.#ca, 'ca.pem'), key: join(this.#ca, 'ca.key') },
        state: { url: this.redis.url, grace: `${GRACE_MS / 1000}s` },
      },
    });
    onTestFinished(() => gate.stop());
    return gate;
  }
}

/** One request in a tunnel of its own. */
async function ask(gate: ProcessGate, session: TestSession): Promise<Outcome> {
  try {
    const proxy = { ...session.proxy, port: gate.proxyPort };
    const { peer, reply } = await connect(proxy, `${HOST}:443`);
    try {
      if (reply.status !== 200) return header(reply, 'stubgate-reason') ?? `${reply.status}`;
      const tls = await wrapTls(peer, { ca: gate.ca, servername: HOST });
      await tls.send(
        `GET / HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${session.stubs['API_KEY']}\r\nConnection: close\r\n\r\n`,
      );
      const answer = await readReply(tls);
      return answer.body.toString() === 'the secret came'
        ? 'served'
        : (header(answer, 'stubgate-reason') ?? 'wrong');
    } finally {
      peer.cut();
    }
  } catch (error) {
    return `cut: ${(error as Error).message.slice(0, 60)}`;
  }
}

async function admin(gate: ProcessGate, path: string): Promise<{ status: number; text: string }> {
  const ready = gate.logs.find(({ message }) => message === 'ready');
  const token = readFileSync(join(dirname(gate.caFile), 'admin-token'), 'utf8').trim();
  const answer = await fetch(`http://${String(ready?.fields['admin'])}${path}`, {
    headers: { authorization: `Bearer ${token}` },
  });
  return { status: answer.status, text: await answer.text() };
}

describe.skipIf(!hasRedis)('two gates on one Redis', () => {
  let fleet: Fleet;

  beforeEach(async () => {
    const redis = await startRedis();
    onTestFinished(() => redis.stop());
    let secret = '';
    const upstream = closing(
      await startHttp({ hosts: [HOST] }, ({ headers }, response) => {
        response.end(
          headers.authorization === `Bearer ${secret}` ? 'the secret came' : 'something else came',
        );
      }),
    );
    fleet = new Fleet(redis, of => {
      secret = of;
      return upstream;
    });
  });

  test('a session and its stubs are the same at both; the control plane of each knows all', async () => {
    const tapped = await tap(fleet.redis);
    onTestFinished(() => tapped.close());
    const [one, other] = await Promise.all([fleet.gate(), fleet.gate()]);
    const session = await one.session({ sub: 'octo', labels: { run: '7' } });
    expect(await ask(other, session)).toBe('served');
    expect(await ask(one, session)).toBe('served');
    expect((await admin(other, '/v1/sessions')).text).toContain(session.id);
    expect(JSON.parse((await admin(other, `/v1/sessions/${session.id}`)).text)).toMatchObject({
      state: 'live',
      sub: 'octo',
      labels: { run: '7' },
    });
    expect(await admin(other, '/readyz')).toEqual({
      status: 200,
      text: JSON.stringify({ ok: true, checks: { audit: true, state: true, serving: true } }),
    });
    expect((await admin(other, '/metrics')).text).toContain('\nstubgate_state_up 1\n');
    // A stub that another gate made is one here, too, wherever it stands.
    const mine = await other.session();
    expect(await ask(other, { ...mine, stubs: session.stubs })).toMatch(
      /^(stub_misplaced|foreign_credential)$/,
    );
    await until('the other hears of it', () =>
      one.logs.some(({ message }) => message === 'alarm at another gate'),
    );
    expect(other.logs.some(({ message }) => message === 'alarm at another gate')).toBe(false);
    await other.revoke(session.id);
    await until('the other refuses it', async () => (await ask(one, session)) === 'session_revoked', 1000);
    expect(await ask(other, session)).toBe('session_revoked');
    const said = `${tapped.text}${await dump(fleet.redis)}`;
    for (const secret of [fleet.secret, session.token, session.stubs['API_KEY'] ?? ''])
      expect(leaks(said, secret)).toEqual([]);
  });

  test('an unknown session while Redis is away is refused in a second or so, with what to do', async () => {
    const [one, other] = await Promise.all([fleet.gate(), fleet.gate()]);
    const [session, known] = [await one.session(), await one.session()];
    await until('the other knows it', async () => (await ask(other, known)) === 'served');
    fleet.redis.signal('SIGSTOP');
    const from = performance.now();
    expect(await ask(other, session)).toBe('state_unavailable');
    expect(performance.now() - from).toBeLessThan(2500);
    expect(await ask(other, known)).toBe('served');
    await expect(one.session()).rejects.toThrow('503');
    await until('it is not ready', async () => (await admin(other, '/readyz')).status === 503);
    expect((await admin(other, '/metrics')).text).toContain('\nstubgate_state_up 0\n');
    const open = await connect({ ...known.proxy, port: other.proxyPort }, `${HOST}:443`);
    expect(open.reply.status).toBe(200);
    await until('the grace is over', async () => (await ask(other, known)) === 'state_unavailable');
    await open.peer.end();
    fleet.redis.signal('SIGCONT');
    await until('all goes on', async () => (await ask(other, known)) === 'served');
    expect(await ask(other, session)).toBe('served');
  });

  test('under load, with revocations, and a gate and Redis killed in turn', async () => {
    const gates = await Promise.all([fleet.gate(), fleet.gate()]);
    const figures = await storm(fleet, gates);
    console.info(`two gates on one Redis under load: ${JSON.stringify(figures)}`);
    expect(figures).toMatchObject({ servedAfterRevocation: 0, servedAfterLoss: 0 });
    expect(figures.lost).toEqual({});
    expect(figures.served).toBeGreaterThan(200);
    expect(figures.slowestRevocationMs).toBeLessThan(1000);
  }, 60_000);
});

interface Owned {
  readonly session: TestSession;
  readonly known: Set<ProcessGate>;
  revokedAt: number;
  /** Its revocation was not confirmed: it may have ended, or not. */
  unsure: boolean;
}

/** 15 s: gates share the work; sessions come and go; a gate is killed and replaced, Redis is stopped, then loses all. */
async function storm(fleet: Fleet, gates: [ProcessGate, ProcessGate]) {
  const figures = {
    served: 0,
    refused: 0,
    revoked: 0,
    servedAfterRevocation: 0,
    slowestRevocationMs: 0,
    lost: {} as Record<string, number>,
    ended: 0,
    unchecked: 0,
    killed: 0,
    servedAfterLoss: 0,
  };
  const owned: Owned[] = [];
  const dead = new Set<ProcessGate>();
  let redisDown = false;
  const time = { over: false };
  let phase = 'calm';
  const any = <T>(of: readonly T[]): T => of[Math.floor(Math.random() * of.length)] as T;
  const create = async (): Promise<void> => {
    const gate = any(gates);
    if (redisDown || dead.has(gate)) return;
    const session = await gate.session().catch(() => undefined);
    if (session)
      owned.push({ session, known: new Set([gate]), revokedAt: Number.POSITIVE_INFINITY, unsure: false });
  };
  const one = async (): Promise<void> => {
    // Those that were revoked lately, too.
    const it = any(owned.filter(({ revokedAt }) => performance.now() < revokedAt + 3000));
    const gate = any(gates);
    const from = performance.now();
    const outcome = await ask(gate, it.session);
    if (it.unsure) return;
    if (outcome === 'served') {
      figures.served++;
      it.known.add(gate);
      if (from > it.revokedAt + 1000) figures.servedAfterRevocation++;
      if (from > it.revokedAt)
        figures.slowestRevocationMs = Math.max(figures.slowestRevocationMs, from - it.revokedAt);
      return;
    }
    figures.refused++;
    if (dead.has(gate)) figures.killed++;
    else if (performance.now() >= it.revokedAt) figures.ended++;
    // A gate that cannot check what it does not know must refuse it: on a busy machine, too.
    else if (outcome === 'state_unavailable' && !it.known.has(gate)) figures.unchecked++;
    else figures.lost[`${phase}: ${outcome}`] = (figures.lost[`${phase}: ${outcome}`] ?? 0) + 1;
  };
  const worker = async (): Promise<void> => {
    while (!time.over) await one();
  };
  const churn = async (): Promise<void> => {
    while (!time.over) {
      await create();
      const live = owned.filter(({ revokedAt }) => revokedAt === Number.POSITIVE_INFINITY);
      const gate = any(gates);
      if (!redisDown && !dead.has(gate) && live.length > 10) {
        const it = any(live);
        it.revokedAt = performance.now();
        await gate.revoke(it.session.id).then(
          () => figures.revoked++,
          () => (it.unsure = true),
        );
      }
      await delay(50);
    }
  };
  for (let i = 0; i < 10; i++) await create();
  const running = [...Array.from({ length: 6 }, worker), churn()];
  await delay(2500);
  phase = 'a gate killed';
  const victim = gates[1];
  dead.add(victim);
  process.kill(victim.pid, 'SIGKILL');
  gates[1] = await fleet.gate();
  await delay(2500);
  phase = 'Redis stopped';
  redisDown = true;
  fleet.redis.signal('SIGSTOP');
  await delay(2500);
  fleet.redis.signal('SIGCONT');
  await delay(2000);
  redisDown = false;
  phase = 'Redis woken';
  await delay(1500);
  phase = 'Redis killed';
  redisDown = true;
  await fleet.redis.kill();
  await delay(500);
  await fleet.redis.start();
  time.over = true;
  await Promise.all(running);
  await delay(GRACE_MS + 2000);
  for (const { session } of owned)
    for (const gate of gates) if ((await ask(gate, session)) === 'served') figures.servedAfterLoss++;
  return { ...figures, slowestRevocationMs: Math.round(figures.slowestRevocationMs), sessions: owned.length };
}
