import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { tempFolder } from '../audit/event.ts';
import { quickly, stubgate } from './stubgate.ts';

describe('the registry of a package manager', () => {
  /** A folder whose `bin` holds scripts in place of the package managers. */
  function withClients(scripts: Record<string, string>) {
    const cwd = tempFolder();
    mkdirSync(join(cwd, 'bin'));
    for (const [name, script] of Object.entries(scripts)) {
      writeFileSync(join(cwd, 'bin', name), `#!/bin/sh\n${script}\n`);
      chmodSync(join(cwd, 'bin', name), 0o755);
    }
    return { cwd, env: { PATH: `${join(cwd, 'bin')}:/usr/bin:/bin` } };
  }
  const written = (cwd: string) => readFileSync(join(cwd, 'stubgate.yaml'), 'utf8');

  it('is what npm says', async () => {
    const where = withClients({ npm: 'test "$*" = "config get registry" && echo https://npm.corp.test/x/' });
    expect((await stubgate(where, 'init', '--with', 'npm')).code).toBe(0);
    expect(written(where.cwd)).toMatch(
      /hosts: \[npm\.corp\.test\]\n {4}methods: \[GET, HEAD\]\n {4}paths: \["\/x\/\*\*"\]/,
    );
  });

  const ways: [string, Record<string, string>, Record<string, string>][] = [
    ['its variable', {}, { PIP_INDEX_URL: 'https://pip.corp.test/simple' }],
    [
      'its settings',
      { pip: 'test "$*" = "config get global.index-url" && echo https://pip.corp.test/simple' },
      {},
    ],
    [
      'its help',
      {
        pip: 'test "$1" = install && echo "Base URL of the Python Package Index (default\n   https://pip.corp.test/simple). This"',
      },
      {},
    ],
  ];
  it.each(ways)('is what pip says in %s', async (_, scripts, env) => {
    const where = withClients(scripts);
    expect((await stubgate({ ...where, env: { ...where.env, ...env } }, 'init', '--with', 'pip')).code).toBe(
      0,
    );
    expect(written(where.cwd)).toContain('hosts: [pip.corp.test]');
    expect(written(where.cwd)).toContain('paths: ["/simple/**"]');
  });

  const settings: [string, string, Record<string, string>, Record<string, string>, string[]][] = [
    [
      'cargo',
      'its files',
      {
        '.cargo/config.toml':
          '[source.crates-io]\nreplace-with = "corp" # ours\n\n[source."corp"]\nregistry = "sparse+https://cargo.corp.test/index/"\n',
      },
      {},
      ['hosts: [cargo.corp.test]', 'paths: ["/index/**"]'],
    ],
    [
      'cargo',
      'its variables',
      {},
      {
        CARGO_REGISTRY_DEFAULT: 'my-corp',
        CARGO_REGISTRIES_MY_CORP_INDEX: 'sparse+https://cargo.corp.test/index/',
      },
      ['hosts: [cargo.corp.test]'],
    ],
    [
      'rubygems',
      'what it prints',
      { 'bin/gem': '#!/bin/sh\nprintf "*** CURRENT SOURCES ***\n\nhttps://gem.corp.test/\n"\n' },
      {},
      ['hosts: [gem.corp.test]', 'paths: ["/**"]'],
    ],
    [
      'docker',
      'what it prints',
      { 'bin/docker': '#!/bin/sh\necho https://mirror.corp.test:5000/\n' },
      {},
      ['hosts: [mirror.corp.test]', 'ports: [5000]', 'paths: ["/v2/**"]'],
    ],
    [
      'docker',
      'its logins',
      { 'bin/docker': '#!/bin/sh\nexit 1\n', '.docker/config.json': '{"auths":{"docker.corp.test":{}}}' },
      {},
      ['hosts: [docker.corp.test]'],
    ],
    [
      'pypi-upload',
      'its file',
      { '.pypirc': '[distutils]\nindex-servers = pypi\n[pypi]\nrepository: https://up.corp.test/legacy/\n' },
      {},
      ['hosts: [up.corp.test]', 'paths: [/legacy/]', 'username: "__token__"'],
    ],
    [
      'pypi-upload',
      'its variable',
      {},
      { TWINE_REPOSITORY_URL: 'https://up.corp.test/legacy/' },
      ['hosts: [up.corp.test]'],
    ],
  ];
  it.each(settings)('for %s is in %s', async (name, _, files, env, lines) => {
    const where = withClients({});
    for (const [file, text] of Object.entries(files)) {
      mkdirSync(dirname(join(where.cwd, file)), { recursive: true });
      writeFileSync(join(where.cwd, file), text, { mode: 0o755 });
    }
    const ran = await stubgate({ ...where, env: { ...where.env, ...env } }, 'init', '--with', name);
    expect([ran.code, ran.stderr]).toEqual([0, expect.stringMatching(/^\S+: /)]);
    for (const line of lines) expect(written(where.cwd)).toContain(line);
  });

  it('gets no token over plain http', async () => {
    const where = withClients({});
    const env = { ...where.env, TWINE_REPOSITORY_URL: 'http://up.corp.test/legacy/' };
    const { code, stderr } = await stubgate({ ...where, env }, 'init', '--with', 'pypi-upload');
    expect([code, stderr]).toEqual([1, expect.stringMatching(/without TLS/)]);
  });

  it.each(['npm', 'pip', 'cargo', 'rubygems', 'docker', 'pypi-upload'])(
    'is asked for when %s does not tell',
    async client => {
      const tools = ['npm', 'pip', 'gem', 'docker', 'python3'];
      const where = withClients(Object.fromEntries(tools.map(tool => [tool, 'exit 1'])));
      const { code, stderr } = await stubgate(where, 'init', '--with', client);
      expect([code, stderr]).toEqual([
        1,
        expect.stringMatching(/does not tell its package index; set it with/),
      ]);
    },
  );
});

it('takes the repository from the folder’s remote, and does not replace a file unasked', async () => {
  const cwd = tempFolder();
  mkdirSync(join(cwd, '.git'));
  writeFileSync(join(cwd, '.git', 'HEAD'), 'ref: refs/heads/main\n');
  mkdirSync(join(cwd, '.git', 'refs'));
  mkdirSync(join(cwd, '.git', 'objects'));
  writeFileSync(join(cwd, '.git', 'config'), '[remote "origin"]\n  url = git@github.com:acme/app.git\n');
  const { code, stdout, stderr } = await quickly(cwd, 'init', '--with', 'github', '--out', 'deep/gate.yaml');
  expect([code, stdout, stderr]).toEqual([
    0,
    'deep/gate.yaml\ndeep/gate.cases.yaml\n',
    'github: the API and git, of acme/app\n',
  ]);
  expect(readFileSync(join(cwd, 'deep/gate.yaml'), 'utf8')).toContain('"/repos/acme/app/**"');
  expect((await quickly(cwd, 'init', '--out', 'deep/gate.yaml')).code).toBe(2);
  expect((await quickly(cwd, 'init', '--out', 'deep/gate.yaml', '--force')).code).toBe(0);
});
