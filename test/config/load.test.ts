import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { findConfig, loadConfig, parseConfig } from '../../src/config/load.ts';
import { ConfigError, formatProblem } from '../../src/config/problems.ts';
import type { CanonicalHost } from '../../src/types.ts';

const folder = mkdtempSync(join(tmpdir(), 'stubgate-config-'));
afterAll(() => rmSync(folder, { recursive: true }));

const read = (text: string) => parseConfig(text, '/etc/stubgate/stubgate.yaml');
const warnings = (text: string) => read(text).warnings.map(formatProblem);

describe('findConfig', () => {
  const at = (name: string, ...files: string[]): string => {
    const cwd = join(folder, name);
    mkdirSync(join(cwd, 'config'), { recursive: true });
    for (const file of files) writeFileSync(join(cwd, file), '');
    return cwd;
  };
  const both = at('both', 'stubgate.yaml', 'config/stubgate.yaml');
  const below = at('below', 'config/stubgate.yaml');
  const none = at('none');

  it.each<[string, string | undefined, Record<string, string>, string, string]>([
    ['what was named', 'x.yaml', { STUBGATE_CONFIG: '/y.yaml' }, both, join(both, 'x.yaml')],
    ['the variable', undefined, { STUBGATE_CONFIG: '/y.yaml' }, both, '/y.yaml'],
    ['the variable, relative', undefined, { STUBGATE_CONFIG: 'y.yaml' }, both, join(both, 'y.yaml')],
    [
      'the folder, if the variable is empty',
      undefined,
      { STUBGATE_CONFIG: '' },
      both,
      join(both, 'stubgate.yaml'),
    ],
    ['./stubgate.yaml', undefined, {}, both, join(both, 'stubgate.yaml')],
    ['./config/stubgate.yaml', undefined, {}, below, join(below, 'config/stubgate.yaml')],
  ])('takes %s', (_, explicit, env, cwd, file) => {
    expect(findConfig(explicit, env, cwd)).toBe(file);
  });

  it('tells where it looked', () => {
    expect(() => findConfig(undefined, {}, none)).toThrow(
      `no configuration: --config is not given, $STUBGATE_CONFIG is not set, and there is no ${none}/stubgate.yaml and no ${none}/config/stubgate.yaml`,
    );
  });
});

describe('loadConfig', () => {
  it('reads a file, and gives its absolute path', () => {
    const file = join(folder, 'good.yaml');
    writeFileSync(file, 'version: 1\n');
    expect(loadConfig(file).file).toBe(file);
  });

  it.each([
    [
      'is not there',
      () => join(folder, 'missing.yaml'),
      /missing\.yaml:1:1: the file cannot be read \(ENOENT\)/,
    ],
    ['is a folder', () => folder, /cannot be read \(EISDIR\)/],
    [
      'is not UTF-8',
      () => {
        writeFileSync(join(folder, 'latin1.yaml'), Buffer.from('version: 1 # caf\xe9', 'latin1'));
        return join(folder, 'latin1.yaml');
      },
      /latin1\.yaml:1:1: the file is not UTF-8; save it as such/,
    ],
  ])('refuses a file that %s', (_, file, message) => {
    expect(() => loadConfig(file())).toThrow(ConfigError);
    expect(() => loadConfig(file())).toThrow(message);
  });
});

describe('parseConfig', () => {
  it('fills in what is not written', () => {
    expect(read('version: 1')).toEqual({
      file: '/etc/stubgate/stubgate.yaml',
      version: 1,
      alarms: { onAlarm: 'log' },
      listen: {
        proxy: { host: '127.0.0.1', port: 8080 },
        admin: { host: '127.0.0.1', port: 8081 },
        workers: 1,
      },
      ca: { dir: '/etc/stubgate/certs' },
      state: 'memory',
      identity: [],
      audit: { file: '/etc/stubgate/audit.jsonl' },
      vaults: new Map([
        ['env', { type: 'env', options: {} }],
        ['file', { type: 'file', options: {} }],
      ]),
      credentials: new Map(),
      rules: [],
      profiles: new Map([['default', { name: 'default', rules: [], ttlMs: 3_600_000 }]]),
      upstream: { resolve: new Map(), allowPrivate: [] },
      limits: {
        headBytes: 32_768,
        uriBytes: 16_384,
        headers: 200,
        headTimeMs: 10_000,
        idleMs: 60_000,
        bodyIdleMs: 60_000,
        responseTimeMs: 300_000,
        tunnels: 256,
        deniedTunnels: 32,
        http2: {
          streams: 100,
          sessionStreams: 256,
          windowBytes: 65_536,
          memoryBytes: 10_485_760,
          resets: 200,
          resetsPerSecond: 50,
          pings: 1000,
          pingsPerSecond: 200,
          invalidFrames: 100,
        },
        drainMs: 30_000,
      },
      warnings: [
        {
          file: '/etc/stubgate/stubgate.yaml',
          line: 1,
          col: 1,
          path: 'rules',
          message: 'there are no rules, so every request is denied',
        },
      ],
    });
  });

  it('takes a section with nothing behind it as not written', () => {
    const text =
      'version: 1\nlisten:\nca:\nstate:\naudit:\nvaults:\ncredentials:\nrules:\nupstream:\nlimits:\n';
    expect({ ...read(text), warnings: [] }).toEqual({ ...read('version: 1'), warnings: [] });
  });

  it('reads every key', () => {
    const config = read(`
version: 1
listen: { proxy: "[::1]:0", admin: "unix:run/admin.sock" }
ca: { dir: /var/ca, cert: corp.pem, key: ../corp.key }
state: memory
audit: { file: /var/log/audit.jsonl }
vaults:
  mounted: { type: file, dir: secrets, allow_mode: "0640" }
credentials:
  a: { from: "mounted:a/b.json?version=3#x.y", stub: { env: A_TOKEN, shape: "sk-{48}" }, ttl: 90s }
  b: { from: "file:b.txt" }
  c: { from: "file:/run/c" }
rules:
  - name: api
    hosts: [API.example.com., "*.bücher.example", 192.0.2.1]
    ports: [8443]
    schemes: [https, http]
    methods: [GET, M-SEARCH]
    paths: [/a/**]
    inject:
      - { credential: a, as: bearer, required: true }
      - { credential: b, as: header, name: X-Key, when: always, foreign: pass }
    insecure: true
    allow_range: true
  - { name: no, hosts: ["*"], action: deny }
profiles:
  ci: { rules: [no, api], ttl: 30m }
  all: { rules: [api, no] }
upstream:
  ca_file: corp-ca.pem
  resolve: { Api.Example.com: "127.0.0.1:9443", b.example: "::1", c.example: "[::1]:1" }
  allow_private: [10.1.0.0/16]
  proxy: http://Corp-Proxy:3128/
limits: { head: 1MiB, uri: 512B, headers: 5, head_time: 500ms, idle: 1d, body_idle: 1h, response_time: 1m, tunnels: 7, denied_tunnels: 0, drain: 1s, http2: { streams: 1, session_streams: 2, window: 1KiB, memory: 3MiB, resets: 4, resets_per_second: 5, pings: 6, pings_per_second: 7, invalid_frames: 8 } }
`);
    const { rules, ...rest } = config;
    expect(rest).toMatchObject({
      listen: { proxy: { host: '::1', port: 0 }, admin: { path: '/etc/stubgate/run/admin.sock' } },
      ca: { dir: '/var/ca', cert: '/etc/stubgate/corp.pem', key: '/etc/corp.key' },
      audit: { file: '/var/log/audit.jsonl' },
      upstream: {
        caFile: '/etc/stubgate/corp-ca.pem',
        proxy: { scheme: 'http', host: 'corp-proxy', port: 3128 },
      },
      limits: {
        headBytes: 1_048_576,
        uriBytes: 512,
        headers: 5,
        headTimeMs: 500,
        idleMs: 86_400_000,
        bodyIdleMs: 3_600_000,
        responseTimeMs: 60_000,
        tunnels: 7,
        deniedTunnels: 0,
        http2: {
          streams: 1,
          sessionStreams: 2,
          windowBytes: 1024,
          memoryBytes: 3_145_728,
          resets: 4,
          resetsPerSecond: 5,
          pings: 6,
          pingsPerSecond: 7,
          invalidFrames: 8,
        },
        drainMs: 1000,
      },
    });
    expect(config.vaults.get('mounted')).toEqual({
      type: 'file',
      options: { dir: '/etc/stubgate/secrets', allow_mode: '0640' },
    });
    expect([...config.credentials.values()]).toEqual([
      {
        name: 'a',
        ref: { vault: 'mounted', id: 'a/b.json', version: '3', field: 'x.y' },
        ttlMs: 90_000,
        stub: { env: 'A_TOKEN', shape: 'sk-{48}' },
      },
      {
        name: 'b',
        ref: { vault: 'file', id: '/etc/stubgate/b.txt' },
        ttlMs: 300_000,
        stub: { shape: 'generic' },
      },
      { name: 'c', ref: { vault: 'file', id: '/run/c' }, ttlMs: 300_000, stub: { shape: 'generic' } },
    ]);
    expect(rules[0]).toMatchObject({
      name: 'api',
      action: 'allow',
      hosts: ['api.example.com', '*.xn--bcher-kva.example', '192.0.2.1'],
      ports: [8443],
      schemes: ['https', 'http'],
      methods: ['GET', 'M-SEARCH'],
      paths: ['/a/**'],
      injections: [
        {
          credential: 'a',
          placement: { type: 'bearer', slot: 'header authorization' },
          when: 'stub',
          required: true,
          foreign: 'refuse',
        },
        {
          credential: 'b',
          placement: { type: 'header', slot: 'header x-key' },
          when: 'always',
          required: false,
          foreign: 'pass',
        },
      ],
      insecure: true,
      allowRange: true,
    });
    expect(rules[1]).toEqual({
      name: 'no',
      action: 'deny',
      hosts: ['*'],
      schemes: ['https'],
      injections: [],
      insecure: false,
      allowRange: false,
    });
    expect([...config.profiles.values()]).toEqual([
      { name: 'ci', rules: ['api', 'no'], ttlMs: 1_800_000 },
      { name: 'all', rules: ['api', 'no'], ttlMs: 3_600_000 },
    ]);
    expect([...config.upstream.resolve]).toEqual([
      ['api.example.com' as CanonicalHost, { address: '127.0.0.1', port: 9443 }],
      ['b.example' as CanonicalHost, { address: '::1' }],
      ['c.example' as CanonicalHost, { address: '::1', port: 1 }],
    ]);
    expect(config.upstream.allowPrivate).toEqual([{ bits: 32, value: 0x0a010000n, prefix: 16 }]);
  });

  it('follows an alias', () => {
    const { rules } = read(
      'version: 1\nrules:\n  - { name: a, hosts: &h [a.example] }\n  - { name: b, hosts: *h }',
    );
    expect(rules.map(rule => rule.hosts)).toEqual([['a.example'], ['a.example']]);
  });

  it('refuses more aliases than anybody needs', () => {
    const text = `version: 1\nrules:\n  - { name: a, hosts: &h [a.example] }\n${'  - { name: b, hosts: *h }\n'.repeat(101)}`;
    expect(() => read(text)).toThrow(/:104:23: more than 100 aliases; write the values themselves/);
  });

  it('tells a vendor’s token wherever it stands, whole', () => {
    const token = 'glpat-Ab1Cd2Ef3Gh4Ij5Kl6Mn';
    for (const line of [`# ${token}`, `state: ${token}`, `"${token}": x`, `x: [[["${token}"]]]`]) {
      const told = problemsOf(`version: 1\n${line}\n`);
      expect(told.join('\n')).toMatch(/stubgate\.yaml:2:\d+: this looks like a secret/);
      expect(told.join('\n')).not.toContain(token.slice(0, 10));
    }
  });

  it.each(['Zq7%canary', 'a1B2c3D4e5F6g7H8i9J0k1L2'])(
    'never shows %s, wherever it stands',
    canary => {
      const whole = readFileSync(new URL('./fixtures/every-key.yaml', import.meta.url), 'utf8');
      expect(() => read(whole)).not.toThrow();
      const forms = [
        canary,
        `"${canary} ${canary}"`,
        `[${canary}]`,
        `{ ${canary}: ${canary} }`,
        `*${canary}`,
        `!${canary} x`,
        `"${canary}`,
      ];
      let told = 0;
      for (const [n, { index, 0: word }] of [...whole.matchAll(/[A-Za-z0-9_./*:-]+/g)].entries()) {
        // A third of the forms for each word, another third for the next one.
        for (const form of forms.filter((_, at) => (at + n) % 3 === 0)) {
          const problems = problemsOf(whole.slice(0, index) + form + whole.slice(index + word.length));
          told += problems.length;
          expect(problems.join('\n')).not.toContain(canary);
        }
      }
      expect(told).toBeGreaterThan(500);
    },
    120_000,
  );
});

describe('warnings', () => {
  const rules = 'rules:\n  - { name: a, hosts: [a.example] }\n  - { name: b, hosts: [b.example] }\n';

  it.each([
    [
      'a configuration without rules',
      'version: 1\nrules: []\n',
      ['2:8: rules: there are no rules, so every request is denied'],
    ],
    [
      'a profile without rules',
      `version: 1\n${rules}profiles: { p: { rules: [] } }`,
      ['5:25: profiles.p.rules: this profile has no rules, so it denies every request'],
    ],
    [
      'rules in another order',
      `version: 1\n${rules}profiles: { p: { rules: [b, a] } }`,
      [
        '5:25: profiles.p.rules: rules are asked in the order in which they stand under `rules`; write them in that order here too',
      ],
    ],
    [
      'an open control plane',
      `version: 1\nlisten: { admin: "0.0.0.0:8081" }\n${rules}`,
      [
        '2:18: listen.admin: the control plane listens on every address; write 127.0.0.1 or unix:/path, out of reach of sandboxes',
      ],
    ],
    ['nothing else', `version: 1\n${rules}profiles: { p: { rules: [a, b] } }`, []],
  ])('tell of %s', (_, text, expected) => {
    expect(warnings(text)).toEqual(expected.map(line => `/etc/stubgate/stubgate.yaml:${line}`));
  });
});

function problemsOf(text: string): string[] {
  try {
    read(text);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map(formatProblem);
    throw error;
  }
}
