import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { inheritableEnvironment } from '../../src/admin/environment.ts';
import { type SecretRef, type Vault, VaultError } from '../../src/types.ts';
import { envNames } from '../../src/vaults/env.ts';
import { vaultTypes } from '../../src/vaults/index.ts';
import { tempFolder } from '../support/temp.ts';

const dir = tempFolder('exec');
const signal = new AbortController().signal;
const ref = (id: string, rest: Partial<SecretRef> = {}): SecretRef => ({ vault: 'x', id, ...rest });
let scripts = 0;

function script(text: string): string {
  const path = join(dir, `script-${++scripts}`);
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o700);
  return path;
}

const vaultOf = (command: readonly string[], env: readonly string[] = []): Vault =>
  vaultTypes.build('exec', { command, env });

async function value(vault: Vault, source = ref('a')): Promise<string> {
  return (await vault.read(source, signal)).reveal();
}

async function failure(vault: Vault, source = ref('a'), until = signal): Promise<VaultError> {
  const error: unknown = await vault.read(source, until).then(
    () => expect.unreachable(),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(VaultError);
  const { message, cause, stack } = error as VaultError;
  expect(`${message} ${stack}`).not.toContain('sesame');
  expect(cause).toBeUndefined();
  return error as VaultError;
}

afterEach(() => vi.unstubAllEnvs());

describe('exec', () => {
  it('gives what the command prints, without the line end, or a field of it', async () => {
    expect(await value(vaultOf([script('printf "sesame-a\\n"')]))).toBe('sesame-a');
    const json = vaultOf([script(`echo '{"token":"sesame-b"}'`)]);
    expect(await value(json, ref('a', { field: 'token' }))).toBe('sesame-b');
  });

  it('gives the id as one argument, through no shell', async () => {
    const args = script('for a; do printf "<%s>" "$a"; done');
    const id = 'a b; touch $HOME/x `id` "q" * \\';
    expect(await value(vaultOf([args, 'show', '{id}', '{ID}', '--end']), ref(id))).toBe(
      `<show><${id}><{ID}><--end>`,
    );
  });

  it('finds a program in PATH', async () => {
    script('echo sesame-path');
    vi.stubEnv('PATH', `${dir}:${process.env['PATH']}`);
    expect(await value(vaultOf([`script-${scripts}`]))).toBe('sesame-path');
  });

  it('gives it PATH, HOME, the named variables, and nothing else', async () => {
    vi.stubEnv('T_NAMED', 'sesame-named');
    vi.stubEnv('T_OTHER', 'sesame-other');
    vi.stubEnv('HOME', '/home/t');
    vi.stubEnv('PATH', '/usr/bin:/bin');
    const shown = await value(vaultOf(['/usr/bin/env'], ['T_NAMED', 'T_UNSET']));
    expect(shown.split('\n').toSorted()).toEqual([
      'HOME=/home/t',
      'PATH=/usr/bin:/bin',
      'T_NAMED=sesame-named',
    ]);
  });

  it('keeps it out of the current folder, which a sandbox may write', async () => {
    const own = join(process.cwd(), 'node_modules/.bin');
    vi.stubEnv('PATH', `${own}:${process.cwd()}:.:bin::${dir}:/usr/bin:/bin`);
    expect(await value(vaultOf([script('echo "$PWD" "$PATH"')]))).toBe(`/ ${dir}:/usr/bin:/bin`);
    expect((await failure(vaultOf(['vitest']))).message).toContain('ENOENT');
  });

  it('lets no sandbox inherit the variables that it is given', () => {
    const names = envNames([], new Map([['x', vaultOf(['pass'], ['T_NAMED'])]]));
    const inherited = { T_NAMED: 'sesame-named', T_COPY: 'is sesame-named', T_OTHER: 'other' };
    expect(inheritableEnvironment(inherited, names)).toEqual({ T_OTHER: 'other' });
  });

  it('closes its input', async () => {
    expect(await value(vaultOf([script('cat; echo sesame-eof')]))).toBe('sesame-eof');
  });

  it.each([
    ['fails', 'echo sesame; echo sesame >&2; exit 3', 'ended with exit code 3; run it by hand'],
    ['is killed', 'echo sesame; kill -9 $$', 'ended with SIGKILL'],
    ['prints too much', 'echo sesame; exec yes', 'printed more than 65536 bytes, and was ended'],
  ])('tells that it %s, without its output', async (_, text, words) => {
    const error = await failure(vaultOf([script(text)]));
    expect(error.kind).toBe('unavailable');
    expect(error.message).toContain(words);
  });

  it.each([
    ['what is not text', `printf 'sesame\\377'`, 'is not UTF-8 text'],
    ['a control character', `printf 'sesame\\033'`, 'holds a control character'],
    ['no JSON for a field', 'echo sesame', 'the secret is not JSON'],
  ])('denies %s', async (_, text, words) => {
    const error = await failure(vaultOf([script(text)]), ref('a', { field: 't' }));
    expect(error.kind).toBe('missing');
    expect(error.message).toMatch(new RegExp(`${words}|is not JSON`));
  });

  it('takes 64 KiB', async () => {
    expect(await value(vaultOf([script('head -c 65536 /dev/zero | tr "\\0" s')]))).toHaveLength(65_536);
  });

  it.each([
    ['/gone/program', 'ENOENT'],
    ['no-such-program-anywhere', 'ENOENT'],
    [dir, 'EACCES'],
  ])('tells that %s cannot be run', async (program, code) => {
    expect((await failure(vaultOf([program]))).message).toContain(`cannot be run (${code}); check its path`);
  });

  it('ends the command and what it started when time is up', async () => {
    const pids = join(dir, 'pids');
    const hang = script(`sleep 600 & echo $$ $! > ${pids}.new; mv ${pids}.new ${pids}; echo sesame; wait`);
    const abort = new AbortController();
    const failed = failure(vaultOf([hang]), ref('a'), abort.signal);
    await vi.waitFor(() => expect(existsSync(pids)).toBe(true), { timeout: 10_000 });
    abort.abort();
    expect((await failed).message).toContain('took too long, and was ended');
    const started = readFileSync(pids, 'utf8').trim().split(' ').map(Number);
    expect(started).toHaveLength(2);
    await vi.waitFor(() => expect(started.filter(isAlive)).toEqual([]), { timeout: 10_000 });
  });

  it('does not start when there is no time', async () => {
    const mark = join(dir, 'mark');
    await failure(vaultOf([script(`touch ${mark}`)]), ref('a'), AbortSignal.abort());
    expect(existsSync(mark)).toBe(false);
  });

  it('has no versions, and no id that could be an option', async () => {
    const vault = vaultOf(['echo', '{id}']);
    expect((await failure(vault, ref('a', { version: '1' }))).message).toContain('leave out "?version="');
    expect((await failure(vault, ref('--help'))).message).toContain('begins with "-"');
  });
});

/** Whether a process runs; one that ended and is not waited for does not. */
function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}
