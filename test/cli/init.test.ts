import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { configText } from '../../src/cli/init.ts';
import { PRESETS } from '../../src/cli/presets.ts';
import { compileConfig } from '../../src/config/compile.ts';
import { parseConfig } from '../../src/config/load.ts';
import { decide } from '../../src/policy/table.ts';
import type { CanonicalHost } from '../../src/types.ts';
import { tempFolder } from '../audit/event.ts';
import { quickly, stubgate } from './stubgate.ts';

const context = {
  repository: 'acme/app',
  registry: (client: string) => new URL(`http://registry.${client}.test:8443/repository/${client}/`),
};

const compiled = (names: string[]) =>
  compileConfig(
    parseConfig(
      configText(names.map(name => (PRESETS[name] as (typeof PRESETS)[string])(context))),
      '/s.yaml',
    ),
  );

it.each([[[]], [Object.keys(PRESETS)], ...Object.keys(PRESETS).map(name => [[name]])])(
  'writes a valid configuration: %j',
  names => {
    const { config } = compiled(names);
    expect(config.warnings.filter(({ path }) => path !== 'rules')).toEqual([]);
  },
);

describe('what the presets allow', () => {
  const all = compiled(Object.keys(PRESETS)).profiles.get('default');
  it.each([
    ['GET', 'https', 'api.github.com', 443, '/repos/acme/app/issues', 'github-api'],
    ['GET', 'https', 'api.github.com', 443, '/repos/acme/other', null],
    ['DELETE', 'https', 'api.github.com', 443, '/repos/acme/app', null],
    ['GET', 'https', 'github.com', 443, '/acme/app.git/info/refs', 'github-git'],
    ['POST', 'https', 'github.com', 443, '/acme/app/git-receive-pack', 'github-git'],
    ['GET', 'https', 'github.com', 443, '/acme/app/settings', null],
    ['POST', 'https', 'api.openai.com', 443, '/v1/responses', 'openai'],
    ['POST', 'https', 'api.openai.com', 443, '/v1/files', null],
    ['POST', 'https', 'api.anthropic.com', 443, '/v1/messages', 'anthropic'],
    ['POST', 'https', 'api.anthropic.com', 443, '/v1/files', null],
    ['GET', 'http', 'registry.npm.test', 8443, '/repository/npm/left-pad', 'npm'],
    ['PUT', 'http', 'registry.npm.test', 8443, '/repository/npm/left-pad', null],
    ['GET', 'http', 'registry.npm.test', 8443, '/other', null],
    ['GET', 'http', 'registry.pip.test', 8443, '/repository/pip/x', 'pip'],
  ] as const)('%s %s://%s:%i%s', (method, scheme, host, port, path, rule) => {
    const decision = decide(all!.table, { method, scheme, host: host as CanonicalHost, port, path });
    expect(decision.verdict === 'allow' ? decision.rule.name : null).toBe(rule);
  });
});

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
      /hosts: \["npm\.corp\.test"\]\n {4}methods: \[GET, HEAD\]\n {4}paths: \["\/x\/\*\*"\]/,
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
    expect(written(where.cwd)).toContain('hosts: ["pip.corp.test"]');
    expect(written(where.cwd)).toContain('paths: ["/simple/**"]');
  });

  it.each(['npm', 'pip'])('is asked for when %s does not tell', async client => {
    const where = withClients({ npm: 'exit 1', pip: 'exit 1' });
    const { code, stderr } = await stubgate(where, 'init', '--with', client);
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/does not tell its package index; set it with/),
    ]);
  });
});

it('takes the repository from the folder’s remote, and does not replace a file unasked', async () => {
  const cwd = tempFolder();
  mkdirSync(join(cwd, '.git'));
  writeFileSync(join(cwd, '.git', 'HEAD'), 'ref: refs/heads/main\n');
  mkdirSync(join(cwd, '.git', 'refs'));
  mkdirSync(join(cwd, '.git', 'objects'));
  writeFileSync(join(cwd, '.git', 'config'), '[remote "origin"]\n  url = git@github.com:acme/app.git\n');
  const { code, stdout, stderr } = await quickly(cwd, 'init', '--with', 'github', '--out', 'deep/gate.yaml');
  expect([code, stdout, stderr]).toEqual([0, 'deep/gate.yaml\n', 'github: the API and git, of acme/app\n']);
  expect(readFileSync(join(cwd, 'deep/gate.yaml'), 'utf8')).toContain('"/repos/acme/app/**"');
  expect((await quickly(cwd, 'init', '--out', 'deep/gate.yaml')).code).toBe(2);
  expect((await quickly(cwd, 'init', '--out', 'deep/gate.yaml', '--force')).code).toBe(0);
});
