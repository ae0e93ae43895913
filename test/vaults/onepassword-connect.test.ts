import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { type SecretRef, type Vault, VaultError } from '../../src/types.ts';
import { envNames } from '../../src/vaults/env.ts';
import { vaultTypes } from '../../src/vaults/index.ts';
import { testCa } from '../support/pki.ts';
import { tempFolder } from '../support/temp.ts';
import type { HttpUpstream } from '../support/upstream.ts';
import { type ConnectSetup, startConnect } from '../support/upstreams/onepassword.ts';

const signal = new AbortController().signal;
const ref = (id: string, rest: Partial<SecretRef> = {}): SecretRef => ({ vault: 'op', id, ...rest });
const id = (name: string) => name.padEnd(26, '0');
const TOKEN = 'eyJ.sesame-token';

const LOGIN = {
  id: id('login'),
  title: 'GitHub bot',
  version: 7,
  sections: [
    { id: 's1', label: 'prod' },
    { id: 's2', label: 'test' },
  ],
  fields: [
    { id: 'username', label: 'username', purpose: 'USERNAME', value: 'bot' },
    { id: 'password', label: 'password', purpose: 'PASSWORD', value: 'sesame-password' },
    { id: 'f1', label: 'token', value: 'sesame-prod', section: { id: 's1' } },
    { id: 'f2', label: 'token', value: 'sesame-test', section: { id: 's2' } },
    { id: 'f3', label: 'only', value: 'sesame-only' },
    { id: 'f4', label: 'unset' },
  ],
};
const API = {
  id: id('api'),
  title: 'Model',
  fields: [{ id: 'credential', label: 'credential', value: 'sesame-api' }],
};
const VAULTS = [
  {
    id: id('ci'),
    name: 'CI & more',
    items: [
      LOGIN,
      API,
      { id: id('old'), title: 'Model', state: 'ARCHIVED' },
      { id: id('twin1'), title: 'Twin' },
      { id: id('twin2'), title: 'Twin' },
      { id: id('case'), title: 'model' },
      { id: id('note'), title: 'Note', fields: [] },
    ],
  },
];

async function connect(setup: Partial<ConnectSetup> = {}): Promise<HttpUpstream> {
  const started = await startConnect({ token: TOKEN, vaults: VAULTS, ...setup });
  onTestFinished(() => started.close());
  return started;
}

function vaultAt(server: HttpUpstream, options: object = {}): Vault {
  vi.stubEnv('T_OP_TOKEN', TOKEN);
  const address = `http://${server.address}`;
  return vaultTypes.build('onepassword-connect', { address, token_env: 'T_OP_TOKEN', ...options });
}

async function failure(vault: Vault, source: SecretRef): Promise<VaultError> {
  const error: unknown = await vault.read(source, signal).then(
    () => expect.unreachable(),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(VaultError);
  const { message, cause, stack } = error as VaultError;
  expect(message.startsWith('op:')).toBe(true);
  expect(`${message} ${stack}`).not.toContain('sesame');
  expect(cause).toBeUndefined();
  return error as VaultError;
}

afterEach(() => vi.unstubAllEnvs());

describe('onepassword-connect', () => {
  it.each([
    ['CI & more/GitHub bot', undefined, 'sesame-password'],
    [`${id('ci')}/${id('login')}`, undefined, 'sesame-password'],
    ['CI & more/Model', undefined, 'sesame-api'],
    ['CI & more/GitHub bot', 'only', 'sesame-only'],
    ['CI & more/GitHub bot', 'f1', 'sesame-prod'],
    ['CI & more/GitHub bot', 'test.token', 'sesame-test'],
  ])('reads %s#%s', async (path, field, value) => {
    const vault = vaultAt(await connect());
    const secret = await vault.read(ref(path, field === undefined ? {} : { field }), signal);
    expect(secret.reveal()).toBe(value);
    expect(secret.version).toBe(value === 'sesame-api' ? undefined : '7');
  });

  it('asks for names by filter, and for ids directly', async () => {
    const server = await connect();
    const vault = vaultAt(server);
    await vault.read(ref('CI & more/GitHub bot'), signal);
    await vault.read(ref(`${id('ci')}/${id('login')}`), signal);
    expect(server.requests.map(({ method, url }) => `${method} ${url}`)).toEqual([
      'GET /v1/vaults?filter=name%20eq%20%22CI%20%26%20more%22',
      `GET /v1/vaults/${id('ci')}/items?filter=title%20eq%20%22GitHub%20bot%22`,
      `GET /v1/vaults/${id('ci')}/items/${id('login')}`,
      `GET /v1/vaults/${id('ci')}/items/${id('login')}`,
    ]);
    for (const { headers } of server.requests) expect(headers.authorization).toBe(`Bearer ${TOKEN}`);
  });

  it.each([
    ['another vault', ref('Other/Model'), 'sees no such vault'],
    ['another item', ref('CI & more/Nothing'), 'sees no such item'],
    ['a name in another case', ref('ci & MORE/Model'), 'sees no such vault'],
    ['two items of one name', ref('CI & more/Twin'), '2 items have that name; write the id of one'],
    ['a name with a quote', ref('CI & more/a" or title pr "'), 'holds a quote or a backslash; write its id'],
    ['an item that is gone', ref(`${id('ci')}/${id('gone')}`), 'no such vault or item (404)'],
    [
      'a vault that the token may not read',
      ref(`${id('hr')}/${id('gone')}`),
      'may not read this vault (403)',
    ],
    ['no password', ref('CI & more/Note'), 'has no such field; name a field with "#label"'],
    ['no such field', ref('CI & more/GitHub bot', { field: 'x' }), 'has no such field; check its label'],
    [
      'two fields of one label',
      ref('CI & more/GitHub bot', { field: 'token' }),
      '2 fields fit; write "#section',
    ],
    ['a field without value', ref('CI & more/GitHub bot', { field: 'unset' }), 'has no field "value"'],
    ['a version', ref('CI & more/Model', { version: '1' }), 'leave out "?version="'],
    ['a vault alone', ref('CI & more'), 'is not vault/item'],
    ['too much', ref('CI & more/Model/x'), 'is not vault/item'],
  ])('tells of %s', async (_, source, words) => {
    const error = await failure(vaultAt(await connect()), source);
    expect(error.kind).toBe('missing');
    expect(error.message).toContain(words);
  });

  it.each([
    [401, 'missing', 'refuses the token (401)'],
    [429, 'unavailable', 'answered 429; raise the ttl'],
    [500, 'unavailable', 'answered 500; check its log'],
  ])('tells of status %i', async (status, kind, words) => {
    const error = await failure(vaultAt(await connect({ status })), ref('CI & more/Model'));
    expect(error.kind).toBe(kind);
    expect(error.message).toContain(words);
  });

  it('reads the token anew from its file, over TLS', async () => {
    const server = await connect({ hosts: ['127.0.0.1'] });
    const token_file = join(tempFolder('op'), 'token');
    const address = `https://${server.address}`;
    const { file: ca_file } = await testCa();
    const vault = vaultTypes.build('onepassword-connect', { address, token_file, ca_file });
    expect((await failure(vault, ref('CI & more/Model'))).message).toContain('"token_file" cannot be read');
    writeFileSync(token_file, 'sesame-wrong', { mode: 0o600 });
    expect((await failure(vault, ref('CI & more/Model'))).message).toContain('(401)');
    writeFileSync(token_file, `${TOKEN}\n`);
    expect((await vault.read(ref('CI & more/Model'), signal)).reveal()).toBe('sesame-api');
  });

  it('names its token’s variable, for no sandbox to inherit', async () => {
    const vault = vaultAt(await connect());
    expect(envNames([], new Map([['op', vault]]))).toEqual(new Set(['T_OP_TOKEN']));
  });
});
