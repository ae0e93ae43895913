import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { type SecretRef, type Vault, VaultError } from '../../src/types.ts';
import { vaultTypes } from '../../src/vaults/index.ts';
import { tempFolder } from '../support/temp.ts';
import {
  answer,
  type Engine,
  startVault,
  type VaultServer,
  type VaultSetup,
} from '../support/upstreams/vault.ts';

const ROLE = 'database/creds/readonly';
const dir = tempFolder('leases');
const secretId = join(dir, 'secret-id');
writeFileSync(secretId, 'sesame-secret-id', { mode: 0o600 });
const APPROLE = { method: 'approle', role_id: 'role-1', secret_id_file: secretId };

const { signal } = new AbortController();
const user: SecretRef = { vault: 'corp', id: ROLE, field: 'username' };
const password: SecretRef = { vault: 'corp', id: ROLE, field: 'password' };

interface Scene {
  readonly server: VaultServer;
  readonly vault: Vault;
  /** Ids that were told to have changed. */
  readonly changed: string[];
  readonly warnings: string[];
}

async function scene(engine: Engine, setup: VaultSetup = {}, options: object = {}): Promise<Scene> {
  const server = await startVault({ dynamic: { [ROLE]: engine }, ...setup });
  const vault = vaultTypes.build('hashicorp-vault', {
    address: `http://${server.address}`,
    auth: APPROLE,
    dynamic: ['database', 'team/aws'],
    ...options,
  });
  onTestFinished(async () => {
    server.fault = undefined;
    await vault.close?.(AbortSignal.timeout(2_000)).catch(() => {});
    await server.close();
  });
  const changed: string[] = [];
  const warnings: string[] = [];
  vault.watch?.({ changed: id => changed.push(id), warn: error => warnings.push(error.message) });
  return { server, vault, changed, warnings };
}

/** What both refs give, and whether that works. */
async function pair({ vault, server }: Scene, refused?: string) {
  const [name, word] = await Promise.all([
    vault.read(user, signal, refused),
    vault.read(password, signal, refused),
  ]);
  return {
    version: name.version,
    isOne: name.version === word.version,
    works: server.isValid(name.reveal(), word.reveal()),
  };
}

async function failure(reading: Promise<unknown> | undefined): Promise<VaultError> {
  const error: unknown = await Promise.resolve(reading).then(
    () => expect.unreachable(),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(VaultError);
  const { message, cause, stack } = error as VaultError;
  expect(`${message} ${stack}`).not.toContain('sesame');
  expect(cause).toBeUndefined();
  return error as VaultError;
}

describe('two refs of one path', () => {
  it('are parts of one lease, read once however many ask', async () => {
    const at = await scene({ seconds: 3600 });
    const all = await Promise.all(Array.from({ length: 50 }, () => pair(at)));
    expect(new Set(all.map(({ version }) => version)).size).toBe(1);
    expect(all[0]).toMatchObject({
      isOne: true,
      works: true,
      version: expect.stringMatching(/^lease [0-9a-f]{24}$/),
    });
    expect(await pair(at)).toEqual(all[0]);
    expect(at.server.asked('database')).toEqual([`GET /v1/${ROLE}`]);
  });

  it('name the namespace of the vault in everything that is asked', async () => {
    const at = await scene({ seconds: 0.9 }, { namespace: 'team-a' }, { namespace: 'team-a' });
    const { version } = await pair(at);
    await at.server.next('/v1/sys/leases/renew');
    await pair(at, version);
    await at.server.next('/v1/sys/leases/revoke');
    await at.vault.close?.(signal);
    expect(new Set(at.server.requests.map(({ headers }) => headers['x-vault-namespace']))).toEqual(
      new Set(['team-a']),
    );
    expect(at.server.leases.every(({ revoked }) => revoked)).toBe(true);
  });

  it('give way to one new lease when an upstream refused theirs, and to no later one', async () => {
    const at = await scene({ seconds: 3600 });
    const first = await pair(at);
    const revoked = at.server.next('/v1/sys/leases/revoke');
    const second = await pair(at, first.version);
    expect(second).toMatchObject({ isOne: true, works: true });
    expect(second.version).not.toBe(first.version);
    // Told late of the first one: the second stays.
    expect(await pair(at, first.version)).toEqual(second);
    expect(at.server.leases).toHaveLength(2);
    await revoked;
    await vi.waitFor(() => expect(at.server.leases.map(one => one.revoked)).toEqual([true, false]));
    expect(at.changed).toEqual([ROLE]);
  });

  it('stay in use when no new lease can be had', async () => {
    const at = await scene({ seconds: 3600 });
    const first = await pair(at);
    at.server.fault = (request, response) => {
      if (!request.url.includes('database')) return false;
      answer(response, 400, { errors: ['sesame'] });
      return true;
    };
    await failure(at.vault.read(user, signal, first.version));
    expect(await pair(at)).toEqual(first);
    expect(at.changed).toEqual([]);
  });
});

describe('a lease', () => {
  it('is renewed before its end, as long as that gives time, and then replaced', async () => {
    const at = await scene({ seconds: 0.9, maxSeconds: 2 });
    const first = await pair(at);
    await at.server.next('/v1/sys/leases/renew');
    expect(await pair(at)).toEqual(first);
    await at.server.next(`/v1/${ROLE}`);
    await vi.waitFor(() => expect(at.changed).toEqual([ROLE]));
    // The old one is still good for requests under way.
    expect(at.server.leases[0]).toMatchObject({ revoked: false });
    expect(at.server.leases[0]?.renewals).toBeGreaterThan(0);
    const second = await pair(at);
    expect(second).toMatchObject({ isOne: true, works: true });
    expect(second.version).not.toBe(first.version);
    expect(JSON.parse(String(at.server.requests.find(({ url }) => url.endsWith('renew'))?.body))).toEqual({
      lease_id: at.server.leases[0]?.id,
    });
  });

  it('that is not renewable is replaced before its end', async () => {
    const at = await scene({ seconds: 1, renewable: false });
    const first = await pair(at);
    await at.server.next(`/v1/${ROLE}`);
    await vi.waitFor(() => expect(at.changed).toEqual([ROLE]));
    expect((await pair(at)).version).not.toBe(first.version);
    expect(at.server.asked('sys')).toEqual([]);
    expect(at.server.isValid(at.server.leases[0]?.username ?? '', at.server.leases[0]?.password ?? '')).toBe(
      true,
    );
  });

  it.each([
    ['answers 500', 500],
    ['answers 429', 429],
    ['hangs', 0],
  ])('is not given out beyond its time when Vault %s', async (_, status) => {
    const at = await scene({ seconds: 0.9 });
    const first = await pair(at);
    at.server.fault = ({ url }, response) => {
      if (url.includes('login')) return false;
      if (status > 0) answer(response, status, { errors: ['sesame'] }, { 'retry-after': '60' });
      return true;
    };
    // Until then it is.
    expect(await pair(at)).toEqual(first);
    // Whoever keeps the value is told, too.
    await vi.waitFor(() => expect(at.changed).toEqual([ROLE]), { timeout: 3_000 });
    const error = await failure(at.vault.read(user, AbortSignal.timeout(100)));
    expect(error.kind).toBe('unavailable');
    at.server.fault = undefined;
    if (status > 0) expect((await pair(at)).works).toBe(true);
  });

  it('ends with the login that made it', async () => {
    const at = await scene({ seconds: 3600 }, { secrets: { a: [{ b: 'sesame-b' }] } });
    const first = await pair(at);
    at.server.tokens.clear();
    await at.vault.read({ vault: 'corp', id: 'a' }, signal);
    expect(at.changed).toEqual([ROLE]);
    const second = await pair(at);
    expect(second.works).toBe(true);
    expect(second.version).not.toBe(first.version);
  });

  it('keeps the login alive that made it', async () => {
    const at = await scene({ seconds: 3600 }, { leaseSeconds: 1 });
    await pair(at);
    await at.server.next('/v1/auth/token/renew-self');
    expect(at.server.asked('auth/approle')).toHaveLength(1);
  });
});

describe('giving back', () => {
  it('revokes the lease once, and a later read makes another', async () => {
    const at = await scene({ seconds: 3600 });
    const first = await pair(at);
    await at.vault.release?.(ROLE, signal);
    expect(at.changed).toEqual([ROLE]);
    expect(at.server.leases.map(({ revoked }) => revoked)).toEqual([true]);
    await at.vault.release?.(ROLE, signal);
    expect(at.server.asked('sys/leases/revoke')).toHaveLength(1);
    const second = await pair(at);
    expect(second.works).toBe(true);
    expect(second.version).not.toBe(first.version);
  });

  it('waits for a read that is under way, and keeps what somebody asked for meanwhile', async () => {
    const at = await scene({ seconds: 3600 });
    const reading = at.vault.read(user, signal);
    await at.vault.release?.(ROLE, signal);
    await reading;
    expect(at.server.leases.map(({ revoked }) => revoked)).toEqual([true]);

    const again = at.vault.read(user, signal);
    const releasing = at.vault.release?.(ROLE, signal);
    const other = at.vault.read(password, signal);
    await releasing;
    expect([(await again).version, at.server.leases[1]?.revoked]).toEqual([(await other).version, false]);
  });

  it('at the end: leases, those that were replaced too, then the login', async () => {
    const at = await scene({ seconds: 3, renewable: false }, { secrets: { a: [{ b: 'sesame-b' }] } });
    await pair(at);
    await at.server.next(`/v1/${ROLE}`);
    await vi.waitFor(() => expect(at.changed).toEqual([ROLE]));
    const [token] = at.server.tokens;
    await at.vault.close?.(signal);
    expect(at.server.leases.map(({ revoked }) => revoked)).toEqual([true, true]);
    expect(at.server.tokens.size).toBe(0);
    const last = at.server.requests.at(-1);
    expect([last?.method, last?.url, last?.headers['x-vault-token']]).toEqual([
      'POST',
      '/v1/auth/token/revoke-self',
      token,
    ]);
    expect((await failure(at.vault.read(user, signal))).message).toContain('the gate is closing');
  });

  it('never revokes a token that was handed to the gate', async () => {
    vi.stubEnv('T_TOKEN', 'hvs.sesame-own');
    onTestFinished(() => void vi.unstubAllEnvs());
    const at = await scene({ seconds: 3600 }, {}, { auth: { method: 'token', token_env: 'T_TOKEN' } });
    at.server.tokens.add('hvs.sesame-own');
    await pair(at);
    await at.vault.close?.(signal);
    expect([...at.server.tokens]).toEqual(['hvs.sesame-own']);
    expect(at.server.leases.map(({ revoked }) => revoked)).toEqual([true]);
  });

  it('tells what could not be given back, and gives back the rest', async () => {
    const at = await scene({ seconds: 3600 });
    await pair(at);
    at.server.fault = ({ url }, response) => {
      if (!url.includes('leases/revoke')) return false;
      answer(response, 403, { errors: ['sesame'] });
      return true;
    };
    const error = await failure(at.vault.close?.(signal));
    expect(error.message).toContain("let the gate's policy update sys/leases/revoke");
    expect(at.server.tokens.size).toBe(0);
  });

  it('is given up at the signal when Vault hangs', async () => {
    const at = await scene({ seconds: 3600 });
    await pair(at);
    at.server.fault = () => true;
    const start = performance.now();
    expect((await failure(at.vault.close?.(AbortSignal.timeout(200)))).kind).toBe('unavailable');
    expect(performance.now() - start).toBeLessThan(2_000);
  });
});

describe('what is not a lease', () => {
  it('of a path below such a mount is read each time', async () => {
    const at = await scene({ seconds: 0, isStatic: true });
    const first = await at.vault.read(password, signal);
    const second = await at.vault.read(password, signal);
    expect([first.version, first.equals(second)]).toEqual([undefined, false]);
    await at.vault.close?.(signal);
    expect(at.server.asked('sys')).toEqual([]);
  });

  it('of another path is read from KV', async () => {
    const at = await scene({ seconds: 1 }, { secrets: { 'databases/a': [{ b: 'sesame-b' }] } });
    expect(at.vault.isLeased?.('databases/a')).toBe(false);
    expect(at.vault.isLeased?.('database')).toBe(false);
    expect([at.vault.isLeased?.(ROLE), at.vault.isLeased?.('team/aws/creds/x')]).toEqual([true, true]);
    expect((await at.vault.read({ vault: 'corp', id: 'databases/a' }, signal)).reveal()).toBe('sesame-b');
  });

  it.each([
    ['no such role', { ...user, id: 'database/creds/none' }, 404, 'missing', 'Vault has no such role (404)'],
    ['a role that is refused', user, 403, 'missing', `let the gate's policy read ${ROLE}`],
    ['a role that Vault does not know', user, 400, 'missing', 'Vault has no such role (400)'],
    ['an engine that is broken', user, 500, 'unavailable', "check the engine's connection"],
    ['a path that is written to', user, 405, 'missing', 'makes nothing when it is read (405)'],
    ['a version', { ...user, version: '3' }, 0, 'missing', 'a lease has no versions'],
    ['no field', { vault: 'corp', id: ROLE }, 0, 'missing', 'has 2 fields; name one with "#field"'],
    ['another field', { ...user, field: 'x' }, 0, 'missing', 'has no field "x"'],
    ['a path upwards', { ...user, id: 'database/../x' }, 0, 'missing', 'write the path'],
  ] as const)('tells of %s', async (_, ref, status, kind, words) => {
    const at = await scene({ seconds: 3600 });
    at.server.fault = ({ url }, response) => {
      if (!url.includes('/database/') || status === 0) return false;
      answer(response, status, { errors: ['sesame'] }, { 'retry-after': '60' });
      return true;
    };
    const error = await failure(at.vault.read(ref, signal));
    expect([error.kind, error.message.startsWith('corp:database/')]).toEqual([kind, true]);
    expect(error.message).toContain(words);
  });

  it.each([
    ['not JSON', 'sesame <html>', 'the answer is not JSON'],
    ['a list', '["sesame"]', 'holds no fields'],
    ['no data', '{"lease_id":"a/b","lease_duration":60}', 'holds no fields'],
    ['a lease that splits a line', '{"lease_id":"a\\r\\nb","data":{"username":"sesame"}}', 'has no field'],
    ['a number', '{"lease_id":"a/b","data":{"password":17}}', 'is not a JSON string'],
  ])('tells of an answer that is %s', async (_, body, words) => {
    const at = await scene({ seconds: 3600 });
    at.server.fault = ({ url }, response) => {
      if (!url.includes('/database/')) return false;
      response.end(body);
      return true;
    };
    expect((await failure(at.vault.read(password, signal))).message).toContain(words);
  });
});
