import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { type SecretRef, type Vault, VaultError } from '../../src/types.ts';
import { envNames } from '../../src/vaults/env.ts';
import { vaultTypes } from '../../src/vaults/index.ts';
import { cleanEnv, runOk } from '../support/clients.ts';
import { createCa, testCa } from '../support/pki.ts';
import { tempFolder } from '../support/temp.ts';
import { startHttp } from '../support/upstream.ts';
import { answer, startVault, type VaultServer, type VaultSetup } from '../support/upstreams/vault.ts';

const dir = tempFolder('hashicorp');
const signal = new AbortController().signal;
const ref = (id: string, rest: Partial<SecretRef> = {}): SecretRef => ({ vault: 'corp', id, ...rest });

function file(name: string, text: string, mode = 0o600): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

const APPROLE = {
  method: 'approle',
  role_id: 'role-1',
  secret_id_file: file('secret-id', 'sesame-secret-id\n'),
};
const JWT_FILE = file('jwt', 'sesame-jwt', 0o644);

async function server(setup: VaultSetup = {}): Promise<VaultServer> {
  const started = await startVault({ secrets: { 'ci/github': [{ token: 'sesame-1' }] }, ...setup });
  onTestFinished(() => started.close());
  return started;
}

const addressOf = ({ port }: { port: number }) => `http://127.0.0.1:${port}`;

function vaultAt(address: string, options: object = {}): Vault {
  return vaultTypes.build('hashicorp-vault', { address, auth: APPROLE, ...options });
}

async function value(vault: Vault, source: SecretRef): Promise<string> {
  return (await vault.read(source, signal)).reveal();
}

/** The error, which holds no secret, no token and no cause that could. */
async function failure(vault: Vault, source = ref('ci/github'), until = signal): Promise<VaultError> {
  const error: unknown = await vault.read(source, until).then(
    () => expect.unreachable(),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(VaultError);
  const { message, cause, stack } = error as VaultError;
  expect(message.startsWith('corp:')).toBe(true);
  expect(`${message} ${stack}`).not.toContain('sesame');
  expect(cause).toBeUndefined();
  return error as VaultError;
}

afterEach(() => vi.unstubAllEnvs());

describe('reading', () => {
  it('gives the only field, or the named one, with the version of the metadata', async () => {
    const secrets = {
      'ci/github': [{ token: 'sesame-1' }, { token: 'sesame-2' }],
      many: [{ a: 'sesame-a', 'b.c': 'sesame-bc', d: { e: 'sesame-e' }, n: 7 }],
      'with space/ü': [{ x: 'sesame-x' }],
    };
    const vault = vaultAt(addressOf(await server({ secrets })));
    const secret = await vault.read(ref('ci/github'), signal);
    expect([secret.reveal(), secret.version]).toEqual(['sesame-2', '2']);
    const old = await vault.read(ref('ci/github', { version: '1' }), signal);
    expect([old.reveal(), old.version]).toEqual(['sesame-1', '1']);
    expect(await value(vault, ref('many', { field: 'a' }))).toBe('sesame-a');
    expect(await value(vault, ref('many', { field: 'b.c' }))).toBe('sesame-bc');
    expect(await value(vault, ref('many', { field: 'd.e' }))).toBe('sesame-e');
    expect(await value(vault, ref('with space/ü'))).toBe('sesame-x');
  });

  it('sends what Vault documents, and the token in its header alone', async () => {
    const vault = await server({ namespace: 'team-a' });
    await value(vaultAt(addressOf(vault), { namespace: 'team-a' }), ref('ci/github'));
    const [login, read] = vault.requests;
    expect(login).toMatchObject({ method: 'POST', url: '/v1/auth/approle/login' });
    expect(JSON.parse(String(login?.body))).toEqual({ role_id: 'role-1', secret_id: 'sesame-secret-id' });
    expect(login?.headers).toMatchObject({ 'x-vault-namespace': 'team-a', 'x-vault-request': 'true' });
    expect(login?.headers['x-vault-token']).toBeUndefined();
    expect(read).toMatchObject({ method: 'GET', url: '/v1/secret/data/ci/github' });
    expect(read?.headers['x-vault-token']).toBe([...vault.tokens][0]);
  });

  it('reads KV 1, and another mount', async () => {
    const vault = await server({ flat: { 'a/b': { key: 'sesame-flat' } } });
    const flat = vaultAt(addressOf(vault), { kv: 1, mount: 'kv1' });
    const secret = await flat.read(ref('a/b'), signal);
    expect([secret.reveal(), secret.version]).toEqual(['sesame-flat', undefined]);
    expect(vault.asked('kv1')).toEqual(['GET /v1/kv1/a/b']);
    expect((await failure(flat, ref('a/b', { version: '1' }))).message).toContain('KV 1 has no versions');
  });

  it.each([
    ['no such path', ref('gone'), 'missing', 'there is no such secret; check path, "mount" and "kv"'],
    ['a deleted version', ref('old', { version: '1' }), 'missing', 'this version was deleted'],
    ['a version to come', ref('old', { version: '9' }), 'missing', 'there is no such secret'],
    ['a version that is none', ref('old', { version: 'x' }), 'missing', 'write ?version= with a number'],
    ['many fields and no name', ref('many'), 'missing', 'has 2 fields; name one with "#field"'],
    ['no such field', ref('many', { field: 'c' }), 'missing', 'has no field "c"'],
    ['an inherited field', ref('many', { field: 'constructor' }), 'missing', 'has no field'],
    ['no field at all', ref('empty'), 'missing', 'has 0 fields'],
    ['a number', ref('number'), 'missing', 'is not a JSON string'],
    ['a forbidden path', ref('denied'), 'missing', "let the gate's policy read below secret/data/"],
    ['a path upwards', ref('a/../b'), 'missing', 'write the path below "secret" alone'],
    ['a path from the root', ref('/a'), 'missing', 'write the path below "secret" alone'],
  ] as const)('tells of %s', async (_, source, kind, words) => {
    const secrets = {
      old: [undefined, { a: 'sesame-1' }],
      many: [{ a: 'sesame-a', b: 'sesame-b' }],
      empty: [{}],
      number: [{ a: 1234 }],
    };
    const error = await failure(vaultAt(addressOf(await server({ secrets }))), source);
    expect(error.kind).toBe(kind);
    expect(error.message).toContain(words);
  });
});

describe('logging in', () => {
  it.each([
    ['approle', APPROLE],
    ['approle at another mount', { ...APPROLE, mount: 'team/approle', role_id: 'role-2' }],
    ['approle from variables', { method: 'approle', role_id_env: 'T_ROLE', secret_id_env: 'T_SECRET' }],
    ['kubernetes', { method: 'kubernetes', role: 'stubgate', token_file: JWT_FILE }],
    ['jwt', { method: 'jwt', role: 'stubgate', token_file: JWT_FILE }],
    ['jwt from a variable', { method: 'jwt', role: 'stubgate', token_env: 'T_JWT' }],
  ])('by %s', async (_, auth) => {
    vi.stubEnv('T_ROLE', 'role-1');
    vi.stubEnv('T_SECRET', 'sesame-secret-id');
    vi.stubEnv('T_JWT', 'sesame-jwt');
    expect(await value(vaultAt(addressOf(await server()), { auth }), ref('ci/github'))).toBe('sesame-1');
  });

  it('takes a token from a file or a variable, and a new one when it is replaced', async () => {
    const vault = await server();
    vault.tokens.add('hvs.sesame-own');
    const path = file('token', 'hvs.sesame-own\n', 0o640);
    const byFile = vaultAt(addressOf(vault), { auth: { method: 'token', token_file: path } });
    expect(await value(byFile, ref('ci/github'))).toBe('sesame-1');
    vi.stubEnv('T_TOKEN', 'hvs.sesame-own');
    const byVariable = vaultAt(addressOf(vault), { auth: { method: 'token', token_env: 'T_TOKEN' } });
    expect(await value(byVariable, ref('ci/github'))).toBe('sesame-1');
    vault.tokens.clear();
    vault.tokens.add('hvs.sesame-new');
    file('token', 'hvs.sesame-new');
    expect(await value(byFile, ref('ci/github'))).toBe('sesame-1');
    expect((await failure(byVariable)).message).toContain('Vault denies it (403)');
  });

  it('renews a token that was handed to it, and lives with one that may not be looked up', async () => {
    const vault = await server({ leaseSeconds: 1 });
    vault.tokens.add('hvs.sesame-own');
    vi.stubEnv('T_TOKEN', 'hvs.sesame-own');
    const auth = { method: 'token', token_env: 'T_TOKEN' };
    const client = vaultAt(addressOf(vault), { auth });
    await value(client, ref('ci/github'));
    await value(client, ref('ci/github'));
    await vault.next('/v1/auth/token/renew-self');
    vault.fault = ({ url }, response) => {
      if (!url.includes('lookup')) return false;
      answer(response, 403, {});
      return true;
    };
    expect(await value(vaultAt(addressOf(vault), { auth }), ref('ci/github'))).toBe('sesame-1');
    vault.fault = ({ url }, response) => {
      if (!url.includes('lookup')) return false;
      answer(response, 503, {}, { 'retry-after': '60' });
      return true;
    };
    expect((await failure(vaultAt(addressOf(vault), { auth }))).message).toContain(
      'refused the login with token (503); check that Vault is unsealed',
    );
  });

  it('is done once however many ask, and kept', async () => {
    const vault = await server();
    const client = vaultAt(addressOf(vault));
    await Promise.all(Array.from({ length: 20 }, () => value(client, ref('ci/github'))));
    await value(client, ref('ci/github'));
    expect(vault.asked('auth')).toEqual(['POST /v1/auth/approle/login']);
  });

  it('is done again, once, when Vault no longer knows the token', async () => {
    const vault = await server();
    const client = vaultAt(addressOf(vault));
    await value(client, ref('ci/github'));
    vault.tokens.clear();
    expect(await value(client, ref('ci/github'))).toBe('sesame-1');
    expect(vault.asked('auth/approle')).toHaveLength(2);
  });

  it('is not done again for a path that the policy denies', async () => {
    const vault = await server();
    const client = vaultAt(addressOf(vault));
    for (let i = 0; i < 3; i++) await failure(client, ref('denied'));
    expect(vault.asked('auth/approle')).toHaveLength(1);
  });

  it('is not done without end when every token is refused', async () => {
    const vault = await server();
    vault.fault = (request, response) => {
      if (request.url.includes('login')) return false;
      answer(response, 403, { errors: ['sesame'] });
      return true;
    };
    expect((await failure(vaultAt(addressOf(vault)))).kind).toBe('missing');
    expect(vault.asked('auth/approle')).toHaveLength(2);
  });

  it('reads a rotated JWT', async () => {
    const path = file('rotating', 'sesame-old', 0o644);
    const auth = { method: 'jwt', role: 'stubgate', token_file: path };
    const client = vaultAt(addressOf(await server()), { auth });
    expect((await failure(client)).message).toContain('refused the login with jwt (400); check auth.role');
    file('rotating', 'sesame-jwt', 0o644);
    expect(await value(client, ref('ci/github'))).toBe('sesame-1');
  });

  it.each([
    [
      'a wrong role',
      { ...APPROLE, role_id: 'role-9' },
      'refused the login with approle (400); check the role id',
    ],
    ['another mount', { ...APPROLE, mount: 'nowhere' }, 'there is no login at auth/nowhere/login (404)'],
    ['a missing file', { ...APPROLE, secret_id_file: '/gone' }, '"secret_id_file" cannot be read (ENOENT)'],
    ['a folder', { ...APPROLE, secret_id_file: dir }, '"secret_id_file" is not a regular file'],
    ['a variable unset', { method: 'token', token_env: 'T_GONE' }, 'T_GONE ("token_env") is not set'],
    [
      'a file for everybody',
      { ...APPROLE, secret_id_file: file('open', 'sesame-secret-id', 0o644) },
      '"secret_id_file" is open to everybody; chmod 600 it',
    ],
    [
      'two lines',
      { method: 'token', token_file: file('lines', 'sesame\nsesame') },
      '"token_file" names is not one line',
    ],
  ])('tells of %s', async (_, auth, words) => {
    const error = await failure(vaultAt(addressOf(await server()), { auth }));
    expect(error.kind).toBe('unavailable');
    expect(error.message).toContain(words);
  });

  it('names the variables that it reads, for no sandbox to inherit', () => {
    const auth = { method: 'approle', role_id_env: 'T_ROLE', secret_id_env: 'T_SECRET' };
    const vaults = new Map([['corp', vaultAt('https://vault.corp.test:8200', { auth })]]);
    expect(envNames([], vaults)).toEqual(new Set(['T_ROLE', 'T_SECRET']));
  });
});

describe('a token that expires', () => {
  it('is renewed in the background while it is used', async () => {
    const vault = await server({ leaseSeconds: 1 });
    const client = vaultAt(addressOf(vault));
    await value(client, ref('ci/github'));
    await value(client, ref('ci/github'));
    await vault.next('/v1/auth/token/renew-self');
    expect(await value(client, ref('ci/github'))).toBe('sesame-1');
    expect(vault.asked('auth')).toEqual(['POST /v1/auth/approle/login', 'POST /v1/auth/token/renew-self']);
    expect(vault.requests.find(({ url }) => url.includes('renew'))?.headers['x-vault-token']).toBe(
      [...vault.tokens][0],
    );
  });

  it('is not renewed if nobody uses it', async () => {
    const vault = await server({ leaseSeconds: 1 });
    await value(vaultAt(addressOf(vault)), ref('ci/github'));
    const used = vaultAt(addressOf(vault));
    await value(used, ref('ci/github'));
    await value(used, ref('ci/github'));
    await vault.next('/v1/auth/token/renew-self');
    const renewed = () => vault.requests.filter(({ url }) => url.includes('renew'));
    await vi.waitFor(() => expect(renewed()).toHaveLength(1));
    expect(renewed()[0]?.headers['x-vault-token']).toBe([...vault.tokens][1]);
  });

  it('keeps no process alive', async () => {
    const vault = await server();
    const use = `
      const { vaultTypes } = await import(${JSON.stringify(new URL('../../src/vaults/index.ts', import.meta.url))});
      const vault = vaultTypes.build('hashicorp-vault', ${JSON.stringify({ address: addressOf(vault), auth: APPROLE })});
      const read = () => vault.read({ vault: 'corp', id: 'ci/github' }, AbortSignal.timeout(600_000));
      console.log((await read()).equals(await read()));`;
    const ran = await runOk(process.execPath, ['--input-type=module', '-e', use], {
      env: cleanEnv(),
      timeout: 20_000,
    });
    expect(ran.stdout).toBe('true\n');
  });

  it('is replaced by a login once it is too old', async () => {
    const vault = await server({ leaseSeconds: 0.05 });
    const client = vaultAt(addressOf(vault));
    await value(client, ref('ci/github'));
    await vi.waitFor(async () => {
      await value(client, ref('ci/github'));
      expect(vault.asked('auth/approle').length).toBeGreaterThan(1);
    });
    expect(vault.asked('auth/token')).toEqual([]);
  });
});

describe('a server in trouble', () => {
  /** Fails the first `times` reads. */
  function failing(
    vault: VaultServer,
    times: number,
    status: number,
    headers: Record<string, string> = {},
  ): void {
    let left = times;
    vault.fault = (request, response) => {
      if (request.url.includes('login') || left-- <= 0) return false;
      answer(response, status, { errors: ['sesame'] }, headers);
      return true;
    };
  }

  it.each([412, 429, 472, 473, 500, 502, 503])('is asked again after %i', async status => {
    const vault = await server();
    failing(vault, 2, status);
    expect(await value(vaultAt(addressOf(vault)), ref('ci/github'))).toBe('sesame-1');
    expect(vault.asked('secret')).toHaveLength(3);
  });

  it.each([
    [412, 'unavailable', 'Vault answered 412'],
    [429, 'unavailable', 'asked too often (429)'],
    [473, 'unavailable', 'a standby (473)'],
    [500, 'unavailable', 'Vault answered 500'],
    [503, 'unavailable', 'sealed or in maintenance (503)'],
  ])('is given up after four tries with %i', async (status, kind, words) => {
    const vault = await server();
    failing(vault, 99, status);
    const error = await failure(vaultAt(addressOf(vault)));
    expect(error.kind).toBe(kind);
    expect(error.message).toContain(words);
    expect(vault.asked('secret')).toHaveLength(4);
  });

  it.each([400, 405])('is not asked again after %i', async status => {
    const vault = await server();
    failing(vault, 99, status);
    expect((await failure(vaultAt(addressOf(vault)))).message).toContain(`Vault answered ${status}`);
    expect(vault.asked('secret')).toHaveLength(1);
  });

  it('is left the pause that it asks for', async () => {
    const vault = await server();
    failing(vault, 1, 429, { 'retry-after': '1' });
    const start = performance.now();
    expect(await value(vaultAt(addressOf(vault)), ref('ci/github'))).toBe('sesame-1');
    expect(performance.now() - start).toBeGreaterThanOrEqual(990);
  });

  it.each(['3600', new Date(Date.now() + 3_600_000).toUTCString()])(
    'is not waited for until Retry-After: %s',
    async retryAfter => {
      const vault = await server();
      failing(vault, 99, 503, { 'retry-after': retryAfter });
      expect((await failure(vaultAt(addressOf(vault)))).message).toContain('(503)');
      expect(vault.asked('secret')).toHaveLength(1);
    },
  );

  it.each(['login', 'data/'])('that hangs at %s is given up at the signal', async place => {
    const vault = await server();
    vault.fault = request => request.url.includes(place);
    const error = await failure(vaultAt(addressOf(vault)), ref('ci/github'), AbortSignal.timeout(200));
    expect(error).toMatchObject({ kind: 'unavailable' });
    expect(error.message).toMatch(/there was no (answer|login) in time/);
  });

  it('that hangs in the middle of a body is given up at the signal', async () => {
    const vault = await server();
    vault.fault = (request, response) => {
      if (request.url.includes('login')) return false;
      response.writeHead(200, { 'content-length': '1000' });
      response.write('{"data":"sesame');
      return true;
    };
    const error = await failure(vaultAt(addressOf(vault)), ref('ci/github'), AbortSignal.timeout(200));
    expect(error.message).toContain('no answer in time');
  });

  it.each([
    ['not JSON', 'sesame <html>', 'the answer is not JSON'],
    ['a list', '["sesame"]', 'holds no fields'],
    ['text', '"sesame"', 'holds no fields'],
    ['nothing', '', 'holds no fields'],
    ['fields in the wrong place', '{"data":{"token":"sesame"}}', 'holds no fields'],
    ['a list of fields', '{"data":{"data":["sesame"]}}', 'holds no fields'],
    ['too much', `{"data":{"data":{"a":"sesame${'x'.repeat(1_100_000)}"}}}`, 'larger than 1048576 bytes'],
  ])('that answers %s', async (_, body, words) => {
    const vault = await server();
    vault.fault = (request, response) => {
      if (request.url.includes('login')) return false;
      response.end(body);
      return true;
    };
    expect((await failure(vaultAt(addressOf(vault)))).message).toContain(words);
    expect(vault.asked('secret')).toHaveLength(1);
  });

  it.each([
    ['no token', {}],
    ['a number', { auth: { client_token: 7 } }],
    ['a token that splits a header', { auth: { client_token: 'sesame\r\nx: y' } }],
  ])('whose login gives %s', async (_, body) => {
    const vault = await server();
    vault.fault = (_request, response) => {
      answer(response, 200, body);
      return true;
    };
    expect((await failure(vaultAt(addressOf(vault)))).message).toContain('the login gave no token');
  });

  it('that nobody can reach', async () => {
    const vault = await startVault();
    await vault.close();
    expect((await failure(vaultAt(addressOf(vault)))).message).toContain(
      'the server cannot be reached (ECONNREFUSED); check the address',
    );
  });
});

describe('a redirect', () => {
  it.each(['data/', 'login'])('to another origin is not followed, at %s', async place => {
    const stranger = await startHttp({}, (_, response) => void response.end('{}'));
    onTestFinished(() => stranger.close());
    const vault = await server();
    vault.fault = (request, response) => {
      if (!request.url.includes(place)) return false;
      answer(response, 307, {}, { location: `${addressOf(stranger)}/v1/sesame` });
      return true;
    };
    const error = await failure(vaultAt(addressOf(vault)));
    expect(error.message).toContain('redirects (307) elsewhere, which is not followed');
    expect(stranger.requests).toEqual([]);
  });

  it('to the same origin is followed once', async () => {
    const vault = await server();
    vault.fault = ({ url }, response) => {
      if (!url.endsWith('ci/github')) return false;
      answer(response, 307, {}, { location: '/v1/secret/data/ci/github?version=1' });
      return true;
    };
    expect(await value(vaultAt(addressOf(vault)), ref('ci/github'))).toBe('sesame-1');
    vault.fault = ({ url }, response) => {
      if (!url.includes('data/')) return false;
      answer(response, 302, {}, { location: url });
      return true;
    };
    expect((await failure(vaultAt(addressOf(vault)))).message).toContain('redirects (302) elsewhere');
  });
});

describe('TLS', () => {
  const address = ({ port }: VaultServer) => `https://127.0.0.1:${port}`;

  it('trusts the CA of its ca_file', async () => {
    const vault = await server({ hosts: ['127.0.0.1'] });
    const client = vaultAt(address(vault), { ca_file: (await testCa()).file });
    expect(await value(client, ref('ci/github'))).toBe('sesame-1');
  });

  it('reads its ca_file anew', async () => {
    const vault = await server({ hosts: ['127.0.0.1'] });
    const ca_file = file('ca.pem', (await testCa()).cert);
    const client = vaultAt(address(vault), { ca_file });
    expect(await value(client, ref('ci/github'))).toBe('sesame-1');
    file('ca.pem', (await createCa('another')).cert);
    expect((await failure(client)).message).toContain('its certificate is not trusted');
  });

  it.each([
    ['another CA', async () => (await createCa('another')).file, 'is not trusted'],
    ['the system’s', async () => undefined, 'is not trusted'],
    ['no file', async () => '/gone.pem', '"ca_file" cannot be read (ENOENT)'],
    ['a file without certificates', async () => JWT_FILE, '"ca_file" holds no certificates'],
  ])('with %s is refused', async (_, ca, words) => {
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
    const vault = await server({ hosts: ['127.0.0.1'] });
    const error = await failure(vaultAt(address(vault), { ca_file: await ca() }));
    expect(error.message).toContain(words);
    expect(vault.requests).toEqual([]);
  });

  it('for another name is refused', async () => {
    const vault = await server({ hosts: ['vault.corp.test'] });
    const error = await failure(vaultAt(address(vault), { ca_file: (await testCa()).file }));
    expect(error.message).toContain('(ERR_TLS_CERT_ALTNAME_INVALID); its certificate is not trusted');
  });

  it('obeys no proxy variable', async () => {
    const proxy = await startHttp({}, (_, response) => void response.end('{}'));
    onTestFinished(() => proxy.close());
    for (const name of ['HTTP_PROXY', 'HTTPS_PROXY', 'http_proxy', 'https_proxy', 'ALL_PROXY'])
      vi.stubEnv(name, addressOf(proxy));
    vi.stubEnv('NODE_USE_ENV_PROXY', '1');
    expect(await value(vaultAt(addressOf(await server())), ref('ci/github'))).toBe('sesame-1');
    expect(proxy.requests).toEqual([]);
  });
});

describe('options', () => {
  it.each([
    'http://vault.corp.test:8200',
    'http://127.evil.test',
    'ftp://127.0.0.1',
    'https://user:hunter2@vault.corp.test',
    'https://vault.corp.test/v1',
    'https://vault.corp.test/?a',
    'vault.corp.test',
  ])('have no address %s', address => {
    expect(() => vaultAt(address)).toThrow();
  });

  it.each(['https://vault.corp.test', 'http://localhost:8200', 'http://[::1]:8200', 'http://127.0.0.2'])(
    'may have the address %s',
    address => {
      expect(() => vaultAt(address)).not.toThrow();
    },
  );
});
