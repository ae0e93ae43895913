import { writeFileSync } from 'node:fs';
import type http from 'node:http';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { canary, leaks } from '../support/canary.ts';
import { type LocalGate, startTestGate, type TestSession } from '../support/gate.ts';
import { openTls, readReply, request } from '../support/raw-client.ts';
import { tempFolder } from '../support/temp.ts';
import { type Handler, type HttpUpstream, type Received, startHttp } from '../support/upstream.ts';
import {
  answer,
  type Fault,
  startVault,
  type VaultServer,
  type VaultSetup,
} from '../support/upstreams/vault.ts';
import { closing, ECHO_HOST } from './scene.ts';

const ROLE = 'database/creds/readonly';
const KEY = 'ci/api';

interface Scene {
  readonly vault: VaultServer;
  readonly upstream: HttpUpstream;
  readonly gate: LocalGate;
}

interface Setup extends VaultSetup {
  /** Keys of the credential `api`. */
  readonly api?: object;
  readonly handler: Handler;
}

/** A gate in front of an upstream; `api` is a secret of a Vault, `user` and `word` are two parts of a lease. */
async function scene({ api, handler, ...setup }: Setup): Promise<Scene> {
  const vault = closing(await startVault({ dynamic: { [ROLE]: { seconds: 3600 } }, ...setup }));
  const upstream = closing(await startHttp({ hosts: [ECHO_HOST] }, handler));
  const secretId = join(tempFolder('life'), 'secret-id');
  writeFileSync(secretId, 'sesame-secret-id', { mode: 0o600 });
  const header = (credential: string, name: string): object => ({ credential, as: 'header', name });
  const gate = await startTestGate({
    rules: [
      {
        name: 'api',
        hosts: [ECHO_HOST],
        paths: ['/api/**'],
        inject: [{ credential: 'api', as: 'bearer' }],
      },
      {
        name: 'database',
        hosts: [ECHO_HOST],
        paths: ['/database/**'],
        inject: [header('user', 'x-user'), header('word', 'x-word')],
      },
    ],
    upstreams: { [ECHO_HOST]: upstream },
    config: {
      vaults: {
        corp: {
          type: 'hashicorp-vault',
          address: `http://${vault.address}`,
          auth: { method: 'approle', role_id: 'role-1', secret_id_file: secretId },
          dynamic: ['database'],
        },
      },
      credentials: {
        api: { from: `corp:${KEY}#token`, stub: { env: 'API_KEY' }, ...api },
        user: { from: `corp:${ROLE}#username`, stub: { env: 'DB_USER' } },
        word: { from: `corp:${ROLE}#password`, stub: { env: 'DB_WORD' } },
      },
    },
  });
  onTestFinished(() => gate.stop());
  return { vault, upstream, gate };
}

const stub = ({ env }: TestSession, name: string): string => env[name] ?? '';

function ask({ gate }: Scene, session: TestSession, line = 'GET /api/x', body = '') {
  const fields = line.includes('/database')
    ? `X-User: ${stub(session, 'DB_USER')}\r\nX-Word: ${stub(session, 'DB_WORD')}`
    : `Authorization: Bearer ${stub(session, 'API_KEY')}`;
  const length = body === '' ? '' : `\r\nContent-Length: ${body.length}`;
  const head = `${line} HTTP/1.1\r\nHost: ${ECHO_HOST}\r\n${fields}${length}`;
  return request(session.proxy, gate.ca, ECHO_HOST, head, body);
}

/** Nothing of these stands in what the sandbox received, in the audit or in the log. */
function expectUntold({ gate, vault }: Scene, received: readonly Buffer[], secrets: readonly string[]): void {
  const made = vault.leases.flatMap(({ username, password }) => [username, password]);
  const told = gate.auditText() + JSON.stringify(gate.logs);
  for (const secret of [...secrets, ...made, ...vault.tokens, 'sesame-secret-id']) {
    expect(leaks(told, secret)).toEqual([]);
    expect(leaks(Buffer.concat(received), secret)).toEqual([]);
  }
}

/** Lets in who shows `key`, and says what was shown. */
const keyed =
  (accepted: () => string, otherwise = 401): Handler =>
  ({ headers }, response) => {
    response.statusCode = headers.authorization === `Bearer ${accepted()}` ? 200 : otherwise;
    response.end(`you sent ${headers.authorization}`);
  };

const shown = ({ upstream }: Scene): (string | undefined)[] =>
  upstream.requests.map(({ headers }) => headers.authorization?.replace('Bearer ', ''));

test('three hundred first requests of ten sessions read the secret once', async () => {
  const key = canary('key-');
  const at = await scene({ secrets: { [KEY]: [{ token: key }] }, handler: keyed(() => key) });
  const sessions = await Promise.all(Array.from({ length: 10 }, () => at.gate.session()));
  const all = await Promise.all(sessions.flatMap(one => Array.from({ length: 30 }, () => ask(at, one))));
  expect(all.filter(({ reply }) => reply.status !== 200)).toEqual([]);
  expect(at.vault.asked()).toEqual(['POST /v1/auth/approle/login', `GET /v1/secret/data/${KEY}`]);
  expectUntold(
    at,
    all.map(({ bytes }) => bytes),
    [key],
  );
});

test('after a 403 a request goes again with the vault’s new value, and a plain 403 asks the vault once', async () => {
  const [first, second] = [canary('key-'), canary('key-')];
  let accepted = first;
  const at = await scene({ secrets: { [KEY]: [{ token: first }] }, handler: keyed(() => accepted, 403) });
  const session = await at.gate.session();
  expect((await ask(at, session)).reply.status).toBe(200);
  accepted = second;
  at.vault.secrets[KEY] = [{ token: first }, { token: second }];
  expect((await ask(at, session)).reply.status).toBe(200);
  expect(shown(at)).toEqual([first, first, second]);
  accepted = 'nobody';
  const refused = await Promise.all(Array.from({ length: 20 }, () => ask(at, session)));
  expect(refused.every(({ reply }) => reply.status === 403)).toBe(true);
  expect(at.vault.asked('secret')).toHaveLength(2);
  expectUntold(
    at,
    refused.map(({ bytes }) => bytes),
    [first, second],
  );
});

test('a request whose body is gone is not sent again, but the next one has the new value', async () => {
  const [first, second] = [canary('key-'), canary('key-')];
  let accepted = first;
  const at = await scene({ secrets: { [KEY]: [{ token: first }] }, handler: keyed(() => accepted) });
  const session = await at.gate.session();
  await ask(at, session);
  accepted = second;
  at.vault.secrets[KEY] = [{ token: first }, { token: second }];
  expect((await ask(at, session, 'POST /api/x', 'hello')).reply.status).toBe(401);
  await vi.waitFor(() => expect(at.vault.asked('secret')).toHaveLength(2));
  await vi.waitFor(async () =>
    expect((await ask(at, session, 'POST /api/x', 'hello')).reply.status).toBe(200),
  );
  expect(shown(at).slice(0, 2)).toEqual([first, first]);
  expect(shown(at).at(-1)).toBe(second);
});

test('an open stream is searched for a secret that was rotated meanwhile, and for the old one still', async () => {
  const [first, second] = [canary('key-'), canary('key-')];
  let accepted = first;
  let stream: http.ServerResponse | undefined;
  const at = await scene({
    secrets: { [KEY]: [{ token: first }] },
    handler: (received, response) => {
      if (received.url !== '/api/stream') return keyed(() => accepted)(received, response);
      stream = response;
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(`data: ${first}\n\n`);
    },
  });
  const session = await at.gate.session();
  const key = stub(session, 'API_KEY');
  const peer = await openTls(session.proxy, at.gate.ca, ECHO_HOST);
  onTestFinished(() => peer.cut());
  const seen = (text: string) => vi.waitFor(() => expect(peer.received.includes(text)).toBe(true));
  await peer.send(`GET /api/stream HTTP/1.1\r\nHost: ${ECHO_HOST}\r\nAuthorization: Bearer ${key}\r\n\r\n`);
  const whole = readReply(peer);
  await seen(`data: ${key}\n\n`);
  // A part of the old one is on its way while it is replaced.
  stream?.write(`one: ${first.slice(0, 20)}`);
  await seen('one: ');
  accepted = second;
  at.vault.secrets[KEY] = [{ token: first }, { token: second }];
  expect((await ask(at, session)).reply.status).toBe(200);
  stream?.write(`${first.slice(20)}\n\n`);
  await seen(`${key}\n\n`);
  stream?.write(`two: ${second.slice(0, 7)}`);
  await seen('two: ');
  stream?.end(`${second.slice(7)} ${first}\n\n`);
  const { body } = await whole;
  expect(body.toString()).toBe(`data: ${key}\n\none: ${key}\n\ntwo: ${key} ${key}\n\n`);
  expect(at.vault.asked('secret')).toHaveLength(2);
  expectUntold(at, [peer.received], [first, second]);
});

/** What is done to the Vault, and what it answers then. */
const FAULTS: readonly (readonly [string, Fault])[] = [
  ['throttles', (_, response) => said(response, 429)],
  ['fails', (_, response) => said(response, 500)],
  ['answers with a page', (_, response) => Boolean(response.end('<html>sesame</html>'))],
];

function said(response: http.ServerResponse, status: number): boolean {
  answer(response, status, { errors: ['sesame'] }, { 'retry-after': '60' });
  return true;
}

const inLoad = { ttl: '100ms' };

/** Eight clients that ask one request after the other, until `done`. */
async function load(at: Scene, session: TestSession, done: (statuses: readonly number[]) => boolean) {
  const statuses: number[] = [];
  const received: Buffer[] = [];
  const client = async (): Promise<void> => {
    while (!done(statuses)) {
      const { reply, bytes } = await ask(at, session);
      statuses.push(reply.status);
      received.push(bytes);
    }
  };
  await Promise.all(Array.from({ length: 8 }, client));
  return { statuses, received };
}

test.each(FAULTS)(
  'in the middle of load, a Vault that %s: 503 until it is back, nothing is lost',
  async (_, fault) => {
    const key = canary('key-');
    const at = await scene({ api: inLoad, secrets: { [KEY]: [{ token: key }] }, handler: keyed(() => key) });
    const session = await at.gate.session();
    let back = 0;
    const { statuses, received } = await load(at, session, so => {
      if (so.length >= 10 && back === 0) at.vault.fault = fault;
      if (so.includes(503) && back === 0) {
        at.vault.fault = undefined;
        back = so.length;
      }
      return back > 0 && so.slice(back).filter(status => status === 200).length >= 10;
    });
    expect(new Set(statuses)).toEqual(new Set([200, 503]));
    const lines = await at.gate.audit(statuses.length);
    const numbers = (list: readonly number[]): number[] => list.toSorted((a, b) => a - b);
    expect(numbers(lines.map(({ status }) => status))).toEqual(numbers(statuses));
    expect(
      lines
        .filter(({ reason }) => reason !== null)
        .every(({ reason }) => reason === 'credential_unavailable'),
    ).toBe(true);
    expect(at.upstream.requests).toHaveLength(statuses.filter(status => status === 200).length);
    expectUntold(at, received, [key]);
  },
  30_000,
);

test.each([...FAULTS, ['hangs', () => true] as const])(
  'in the middle of load, a Vault that %s: with stale_for nobody notices, and the audit says so',
  async (_, fault) => {
    const key = canary('key-');
    const api = { ...inLoad, stale_for: '10m' };
    const at = await scene({ api, secrets: { [KEY]: [{ token: key }] }, handler: keyed(() => key) });
    const session = await at.gate.session();
    const { statuses, received } = await load(at, session, so => {
      if (so.length >= 10) at.vault.fault = fault;
      return at.gate.auditText().split('"stale":true').length > 10;
    });
    expect(new Set(statuses)).toEqual(new Set([200]));
    const lines = await at.gate.audit(statuses.length);
    const stale = lines.filter(({ injected }) => injected[0]?.stale);
    expect(stale.length).toBeGreaterThanOrEqual(10);
    const metrics = at.gate.gate.metrics.text({
      tunnels: 0,
      sessions: 0,
      auditHealthy: true,
      auditLost: 0,
      stateUp: true,
    });
    expect(metrics).toContain(`stubgate_stale_injected_total{credential="api"} ${stale.length}\n`);
    expect(at.gate.logs.filter(({ message }) => message.includes('(stale_for)'))).toHaveLength(1);
    expectUntold(at, received, [key]);
  },
  30_000,
);

test('in the middle of load, a secret that is revoked: 503 although stale_for is set', async () => {
  const key = canary('key-');
  const api = { ...inLoad, stale_for: '10m' };
  const at = await scene({ api, secrets: { [KEY]: [{ token: key }] }, handler: keyed(() => key) });
  const { statuses } = await load(at, await at.gate.session(), so => {
    if (so.length >= 10) at.vault.secrets[KEY] = [undefined];
    return so.includes(503);
  });
  expect(new Set(statuses)).toEqual(new Set([200, 503]));
  expect(at.gate.auditText()).not.toContain('"stale":true');
});

test('in the middle of load, a secret that is rotated: every request is answered with 200', async () => {
  const keys = Array.from({ length: 2 }, () => canary('key-'));
  let accepted = keys[0] as string;
  const at = await scene({
    api: inLoad,
    secrets: { [KEY]: [{ token: accepted }] },
    handler: keyed(() => accepted),
  });
  const { statuses, received } = await load(at, await at.gate.session(), so => {
    const next = keys[Math.min(1, Math.floor(so.length / 40))] as string;
    if (next !== accepted) {
      at.vault.secrets[KEY] = [{ token: next }];
      accepted = next;
    }
    return so.length >= 120;
  });
  expect(statuses.filter(status => status !== 200)).toEqual([]);
  expect(new Set(shown(at))).toEqual(new Set(keys));
  expectUntold(at, received, keys);
});

/** Lets in who shows a user and password that work. */
const database =
  (vault: () => VaultServer | undefined): Handler =>
  ({ headers }: Received, response) => {
    const works = vault()?.isValid(String(headers['x-user']), String(headers['x-word'])) ?? false;
    response.statusCode = works ? 200 : 401;
    response.end(`you are ${String(headers['x-user'])} ${String(headers['x-word'])}`);
  };

async function databaseScene(): Promise<Scene> {
  let vault: VaultServer | undefined;
  const at = await scene({
    secrets: { [KEY]: [{ token: canary('key-') }] },
    handler: (received, response) => {
      if (received.url.startsWith('/database')) return database(() => vault)(received, response);
      response.end();
    },
  });
  vault = at.vault;
  return at;
}

test('user and password are of one lease, which only who needs it causes', async () => {
  const at = await databaseScene();
  const session = await at.gate.session();
  await ask(at, session);
  expect(at.vault.leases).toEqual([]);
  const all = await Promise.all(Array.from({ length: 50 }, () => ask(at, session, 'GET /database/x')));
  for (const { reply } of all) {
    expect(reply.status).toBe(200);
    expect(reply.body.toString()).toBe(`you are ${stub(session, 'DB_USER')} ${stub(session, 'DB_WORD')}`);
  }
  expect(at.vault.leases).toHaveLength(1);
  const lines = await at.gate.audit(51);
  const [, id] = /\/([^/]+)$/.exec(at.vault.leases[0]?.id ?? '') ?? [];
  expect(lines.at(-1)?.injected.map(({ version }) => version)).toEqual([`lease ${id}`, `lease ${id}`]);
  expectUntold(
    at,
    all.map(({ bytes }) => bytes),
    [],
  );
});

test('a lease that the upstream refuses is replaced once, however many hear of it', async () => {
  const at = await databaseScene();
  const session = await at.gate.session();
  await ask(at, session, 'GET /database/x');
  const [lease] = at.vault.leases;
  // Dropped behind Vault's back.
  if (lease) lease.endsAt = 0;
  const all = await Promise.all(Array.from({ length: 50 }, () => ask(at, session, 'GET /database/x')));
  expect(all.filter(({ reply }) => reply.status !== 200)).toEqual([]);
  expect(at.vault.leases).toHaveLength(2);
  await vi.waitFor(() => expect(at.vault.leases.map(({ revoked }) => revoked)).toEqual([true, false]));
  expectUntold(
    at,
    all.map(({ bytes }) => bytes),
    [],
  );
});

test('a lease is revoked when the last session that may use it ends, and not before', async () => {
  const at = await databaseScene();
  const [one, other] = [await at.gate.session(), await at.gate.session()];
  await ask(at, one, 'GET /database/x');
  await at.gate.revoke(one.id);
  expect((await ask(at, other, 'GET /database/x')).reply.status).toBe(200);
  expect(at.vault.leases).toHaveLength(1);
  const revoked = at.vault.next('/v1/sys/leases/revoke');
  await at.gate.revoke(other.id);
  await revoked;
  expect(at.vault.asked('sys/leases/revoke')).toHaveLength(1);
  await vi.waitFor(() => expect(at.vault.leases.map(one => one.revoked)).toEqual([true]));
  const third = await at.gate.session();
  expect((await ask(at, third, 'GET /database/x')).reply.status).toBe(200);
  expect(at.vault.leases).toHaveLength(2);
});

test('leases and the login are given back when the gate stops, even if it must not wait for them', async () => {
  const at = await databaseScene();
  await ask(at, await at.gate.session(), 'GET /database/x');
  await at.gate.stop();
  expect(at.vault.leases.map(({ revoked }) => revoked)).toEqual([true]);
  expect(at.vault.tokens.size).toBe(0);

  const hung = await databaseScene();
  await ask(hung, await hung.gate.session(), 'GET /database/x');
  hung.vault.fault = () => true;
  const start = performance.now();
  await hung.gate.stop();
  expect(performance.now() - start).toBeLessThan(6_000);
  expect(JSON.stringify(hung.gate.logs)).toContain('could not be given back');
}, 20_000);

test('a reload keeps a login and its leases where nothing about the vault changed', async () => {
  const at = await databaseScene();
  const session = await at.gate.session();
  await ask(at, session, 'GET /database/x');
  at.gate.rewrite(text => text.replace('"/api/**"', '"/api/**", "/more/**"'));
  expect((await ask(at, session, 'GET /database/x')).reply.status).toBe(200);
  expect([at.vault.leases.length, at.vault.tokens.size]).toEqual([1, 1]);
  // Another connection to the same Vault logs in for itself, and has leases of its own.
  at.gate.rewrite(text => text.replace('"dynamic"', '"kv": 2, "dynamic"'));
  expect((await ask(at, session, 'GET /database/x')).reply.status).toBe(200);
  expect([at.vault.leases.length, at.vault.tokens.size]).toEqual([2, 2]);
  await at.gate.stop();
  expect([at.vault.leases.map(({ revoked }) => revoked), at.vault.tokens.size]).toEqual([[true, true], 0]);
});
