import { execFileSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, realpath, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type SecretRef, type Vault, VaultError } from '../../src/types.ts';
import { envNames } from '../../src/vaults/env.ts';
import { vaultTypes } from '../../src/vaults/index.ts';

const signal = new AbortController().signal;
const ref = (vault: string, id: string, rest: Partial<SecretRef> = {}): SecretRef => ({ vault, id, ...rest });

async function value(vault: Vault, source: SecretRef): Promise<string> {
  return (await vault.read(source, signal)).reveal();
}

async function failure(vault: Vault, source: SecretRef): Promise<VaultError> {
  const error: unknown = await vault.read(source, signal).then(
    () => expect.unreachable(),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(VaultError);
  expect(String(error)).not.toContain('sesame');
  return error as VaultError;
}

afterEach(() => vi.unstubAllEnvs());

describe('env', () => {
  const env = vaultTypes.build('env', {});

  it('reads a variable, or a field of one', async () => {
    vi.stubEnv('STUBGATE_TEST_A', 'sesame-a');
    vi.stubEnv('STUBGATE_TEST_B', '{"token":"sesame-b"}');
    expect(await value(env, ref('env', 'STUBGATE_TEST_A'))).toBe('sesame-a');
    expect(await value(env, ref('env', 'STUBGATE_TEST_B', { field: 'token' }))).toBe('sesame-b');
  });

  it.each([
    ['unset', undefined],
    ['empty', ''],
  ])('tells that a variable is %s', async (_, text) => {
    vi.stubEnv('STUBGATE_TEST_A', text);
    expect(await failure(env, ref('env', 'STUBGATE_TEST_A'))).toMatchObject({
      kind: 'missing',
      message: 'env:STUBGATE_TEST_A: the variable is not set; set it where the gate starts',
    });
  });

  it('has nothing but own variables', async () => {
    expect((await failure(env, ref('env', 'toString'))).kind).toBe('missing');
    expect((await failure(env, ref('env', '__proto__'))).kind).toBe('missing');
  });

  it('has no versions', async () => {
    vi.stubEnv('STUBGATE_TEST_A', 'sesame-a');
    expect((await failure(env, ref('env', 'STUBGATE_TEST_A', { version: '1' }))).message).toContain(
      'leave out',
    );
  });

  it('names the variables that refs read, whatever the vault is called', () => {
    const vaults = new Map([
      ['env', env],
      ['mine', vaultTypes.build('env', {})],
      ['file', vaultTypes.build('file', {})],
    ]);
    const refs = [
      ref('env', 'A'),
      ref('mine', 'B'),
      ref('file', '/C'),
      ref('env', 'A', { field: 'x' }),
      ref('gone', 'D'),
    ];
    expect(envNames(refs, vaults)).toEqual(new Set(['A', 'B']));
  });
});

describe('file', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await realpath(await mkdtemp(join(tmpdir(), 'stubgate-file-')));
  });
  afterEach(() => rm(dir, { recursive: true }));

  const anywhere = vaultTypes.build('file', {});

  async function write(name: string, text: string | Buffer, mode = 0o600): Promise<string> {
    const path = join(dir, name);
    await writeFile(path, text);
    await chmod(path, mode);
    return path;
  }

  it('reads an absolute path', async () => {
    const path = await write('a', 'sesame-a\n');
    const secret = await anywhere.read(ref('file', path), signal);
    expect(secret.reveal()).toBe('sesame-a');
    expect(secret.version).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  });

  it('reads a path inside its dir, relative or absolute', async () => {
    const vault = vaultTypes.build('file', { dir });
    await mkdir(join(dir, '..sub'));
    await write('..sub/a', '{"t":"sesame-a"}');
    expect(await value(vault, ref('f', '..sub/a', { field: 't' }))).toBe('sesame-a');
    expect(await value(vault, ref('f', join(dir, '..sub/a'), { field: 't' }))).toBe('sesame-a');
    expect(await value(vault, ref('f', '..sub/../..sub/a', { field: 't' }))).toBe('sesame-a');
  });

  it('sees a new value, written in place or moved there', async () => {
    const path = await write('a', 'sesame-1');
    expect(await value(anywhere, ref('file', path))).toBe('sesame-1');
    await write('a', 'sesame-2');
    expect(await value(anywhere, ref('file', path))).toBe('sesame-2');
    await rename(await write('b', 'sesame-3'), path);
    expect(await value(anywhere, ref('file', path))).toBe('sesame-3');
  });

  it('follows a secret as Kubernetes mounts it, and its rotation', async () => {
    const vault = vaultTypes.build('file', { dir, allow_mode: '0644' });
    for (const generation of ['..1', '..2']) {
      await mkdir(join(dir, generation));
      await write(`${generation}/token`, `sesame${generation}`, 0o444);
    }
    await symlink('..1', join(dir, '..data'));
    await symlink('..data/token', join(dir, 'token'));
    expect(await value(vault, ref('k8s', 'token'))).toBe('sesame..1');
    await symlink('..2', join(dir, '..next'));
    await rename(join(dir, '..next'), join(dir, '..data'));
    expect(await value(vault, ref('k8s', 'token'))).toBe('sesame..2');
  });

  it.each([0o600, 0o400])('accepts mode %o', async mode => {
    expect(await value(anywhere, ref('file', await write('a', 'sesame-a', mode)))).toBe('sesame-a');
  });

  it.each([0o640, 0o604, 0o620, 0o602, 0o700, 0o610, 0o644, 0o666])('denies mode %o', async mode => {
    const error = await failure(anywhere, ref('file', await write('a', 'sesame-a', mode)));
    expect(error.message).toContain(`has mode 0${mode.toString(8)}, wider than 0600: chmod 600 it`);
  });

  it.each([
    ['0640', 0o640, true],
    ['0640', 0o440, true],
    ['0640', 0o644, false],
    ['0640', 0o660, false],
    ['0644', 0o444, true],
    ['0644', 0o646, false],
    ['0400', 0o600, true],
  ])('with allow_mode %s, mode %o: %s', async (allow_mode, mode, passes) => {
    const source = ref('f', await write('a', 'sesame-a', mode));
    const vault = vaultTypes.build('file', { allow_mode });
    if (passes) expect(await value(vault, source)).toBe('sesame-a');
    else expect((await failure(vault, source)).message).toContain('has mode');
  });

  it.each(['0660', '0666', '0755', '640', 'rw', '00640'])('has no allow_mode %s', allow_mode => {
    expect(() => vaultTypes.build('file', { allow_mode })).toThrow();
  });

  it('checks the mode of the file, not of a link to it', async () => {
    await symlink(await write('a', 'sesame-a', 0o644), join(dir, 'link'));
    expect((await failure(anywhere, ref('file', join(dir, 'link')))).message).toContain('has mode 0644');
  });

  describe('stays inside its dir', () => {
    it.each(['../outside', 'sub/../../outside', 'link', 'linkdir/outside', '', '.', '..'])('%j', async id => {
      const inner = join(dir, 'inner');
      await mkdir(join(inner, 'sub'), { recursive: true });
      await write('outside', 'sesame-a');
      await symlink('../outside', join(inner, 'link'));
      await symlink('..', join(inner, 'linkdir'));
      const error = await failure(vaultTypes.build('file', { dir: inner }), ref('f', id));
      expect(error.message).toContain('outside the vault\'s "dir"');
    });

    it('also with an absolute path, or a name that begins like it', async () => {
      await mkdir(join(dir, 'a'));
      await mkdir(join(dir, 'ab'));
      const path = await write('ab/x', 'sesame-a');
      const vault = vaultTypes.build('file', { dir: join(dir, 'a') });
      expect((await failure(vault, ref('f', path))).message).toContain('outside');
      expect((await failure(vault, ref('f', '../ab/x'))).message).toContain('outside');
    });
  });

  it('wants an absolute path, or a dir', async () => {
    const path = relative(process.cwd(), await write('a', 'sesame-a'));
    expect((await failure(anywhere, ref('file', path))).message).toContain('write an absolute path');
  });

  it.each([
    ['a missing file', 'gone', 'missing'],
    ['a file below a file', 'a/b', 'missing'],
    ['a link to itself', 'loop', 'missing'],
    ['a directory', 'sub', 'missing'],
    ['a name with NUL', 'a\0b', 'unavailable'],
  ] as const)('denies %s', async (_, name, kind) => {
    await write('a', 'sesame-a');
    await symlink('loop', join(dir, 'loop'));
    await mkdir(join(dir, 'sub'));
    expect((await failure(anywhere, ref('file', join(dir, name)))).kind).toBe(kind);
  });

  it('denies a pipe without waiting for a writer', async () => {
    execFileSync('mkfifo', ['-m', '600', join(dir, 'pipe')]);
    expect((await failure(anywhere, ref('file', join(dir, 'pipe')))).message).toContain('not a regular file');
  });

  it.each([
    [65_536, true],
    [65_537, false],
    [200_000, false],
  ])('reads %i bytes: %s', async (size, passes) => {
    const source = ref('file', await write('a', 's'.repeat(size)));
    if (passes) expect(await value(anywhere, source)).toHaveLength(size);
    else expect((await failure(anywhere, source)).message).toContain('larger than 65536');
  });

  it('denies what is not UTF-8', async () => {
    const source = ref('file', await write('a', Buffer.from('sesame\xff\xfe', 'latin1')));
    expect((await failure(anywhere, source)).message).toContain('not UTF-8');
  });

  it('has no versions', async () => {
    const source = ref('file', await write('a', 'sesame-a'), { version: '2' });
    expect((await failure(anywhere, source)).message).toContain('leave out "?version="');
  });
});
