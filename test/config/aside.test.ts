import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { compileText, loadAside } from '../../src/config/aside.ts';
import { compileConfig } from '../../src/config/compile.ts';
import { parseConfig } from '../../src/config/load.ts';
import { ConfigError } from '../../src/config/problems.ts';
import { type ConfigWatch, watchConfig } from '../../src/config/watch.ts';
import { decide } from '../../src/policy/table.ts';
import type { CanonicalHost } from '../../src/types.ts';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'stubgate-aside-'));
  file = join(folder, 'stubgate.yaml');
});
afterEach(() => rmSync(folder, { recursive: true }));

const never = new AbortController().signal;

/** Every kind of section and placement, before `count` rules of one host each. */
const text = (count: number): string => `version: 1
vaults: { corp: { type: hashicorp-vault, address: https://vault.corp:8200, auth: { method: kubernetes, role: gate } } }
credentials:
  github: { from: corp:ci/github#token, ttl: 1m, stub: { env: GITHUB_TOKEN, shape: github-pat } }
  aws: { from: env:AWS, stub: { env: AWS_SECRET_ACCESS_KEY } }
  app: { from: env:KEY, mint: { type: oauth2, grant: client_credentials, token_url: https://id.example/token, client_id: a } }
upstream: { resolve: { api.example.com: "127.0.0.1:9443" }, allow_private: [10.0.0.0/8], proxy: http://proxy.corp:3128 }
limits: { tunnels: 7 }
rules:
  - { name: deny, action: deny, hosts: [api.example.com], paths: [/admin/**] }
  - { name: git, hosts: [api.example.com], ports: [9443], inject: [{ credential: github, as: basic, username: x }] }
  - { name: body, hosts: [b.example.com], methods: [POST], inject: [{ credential: github, as: json, pointer: /a/b, when: stub, foreign: pass }] }
${Array.from({ length: count }, (_, i) => `  - { name: r${i}, hosts: [h${i}.example.com], paths: [/v1/**], inject: [{ credential: aws, as: bearer }] }\n`).join('')}`;

describe('a configuration that is read aside', () => {
  it.each([0, 61, 200])('is the same as one that is read at once, with %d more rules', async count => {
    const config = parseConfig(text(count), file);
    const aside = await loadAside(file, text(count), never);
    expect(aside.config).toStrictEqual(config);
    const atOnce = compileConfig(config);
    for (const [name, profile] of aside.profiles) {
      const { table: _, ...rest } = profile;
      const { table: __, ...expected } = atOnce.profiles.get(name) ?? { table: undefined };
      expect(rest).toStrictEqual(expected);
    }
  });

  it('decides by every rule', async () => {
    const table = (await loadAside(file, text(200), never)).profiles.get('default')?.table;
    if (!table) throw new Error('no table');
    const asked = (host: string, path: string) =>
      decide(table, { scheme: 'https', host: host as CanonicalHost, port: 443, method: 'GET', path });
    expect(asked('h0.example.com', '/v1/a')).toMatchObject({ verdict: 'allow', rule: { name: 'r0' } });
    expect(asked('h199.example.com', '/v1/a')).toMatchObject({ verdict: 'allow', rule: { name: 'r199' } });
    expect(asked('h200.example.com', '/v1/a')).toEqual({ verdict: 'deny', reason: 'no_rule' });
    expect(asked('api.example.com', '/admin/x')).toMatchObject({ verdict: 'deny', rule: { name: 'deny' } });
  });

  it('has every problem told, with its place', async () => {
    const bad = `${text(2)}  - { name: r0, hosts: [a..b] }\nrulez: []\n`;
    const problems = (read: () => unknown): unknown => {
      try {
        read();
      } catch (error) {
        return (error as ConfigError).problems;
      }
      throw new Error('it was taken');
    };
    const error: unknown = await loadAside(file, bad, never).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as ConfigError).problems).toEqual(problems(() => parseConfig(bad, file)));
    expect((error as ConfigError).problems.length).toBeGreaterThan(1);
  });

  it('is given up when it is ended', async () => {
    const ended = new AbortController();
    const read = loadAside(file, text(800), ended.signal);
    ended.abort();
    await expect(read).rejects.toThrow('ended early');
    await expect(loadAside(file, text(1), ended.signal)).rejects.toThrow('abort');
  });
});

/** Rules that make a large file. */
const LARGE = 800;

/** Turns of the event loop while it settles. */
async function turnsDuring(work: Promise<unknown>): Promise<number> {
  let turns = 0;
  const turning = setInterval(() => turns++, 1);
  await work;
  clearInterval(turning);
  return turns;
}

describe('a text', () => {
  it.each([0, LARGE])('is the configuration, whatever the file holds, with %d more rules', async count => {
    writeFileSync(file, 'version: 7');
    const { config } = await compileText(text(count), file);
    expect(config).toStrictEqual(parseConfig(text(count), file));
    await expect(compileText(`${text(count)}rulez: []\n`, file)).rejects.toThrow(ConfigError);
  });

  it('is compiled without holding up what else waits', async () => {
    expect(await turnsDuring(compileText(text(LARGE), file))).toBeGreaterThan(20);
  });
});

describe('a watch of a large file', () => {
  let watch: ConfigWatch | undefined;
  afterEach(() => watch?.close());

  function start(): () => Promise<string> {
    const told: string[] = [];
    let wake = (): void => {};
    const tell = (what: string): void => {
      told.push(what);
      wake();
    };
    watch = watchConfig(
      file,
      ({ config }) => tell(`good: ${config.rules.length}`),
      error => tell(`bad: ${error instanceof ConfigError ? error.problems.length : String(error)}`),
    );
    return async () => {
      while (told.length === 0) await new Promise<void>(resolve => (wake = resolve));
      return told.shift() ?? '';
    };
  }

  it('tells of it without holding up what else waits', async () => {
    writeFileSync(file, text(1));
    const next = start();
    writeFileSync(file, text(LARGE));
    watch?.reload();
    const told = next();
    expect(await turnsDuring(told)).toBeGreaterThan(20);
    expect(await told).toBe(`good: ${LARGE + 3}`);
  });

  it('tells of a bad one', async () => {
    writeFileSync(file, text(1));
    const next = start();
    writeFileSync(file, `${text(LARGE)}rulez: []\n`);
    watch?.reload();
    expect(await next()).toBe('bad: 1');
  });

  it('tells of what it found, whatever is written while that is read', async () => {
    writeFileSync(file, text(1));
    // The watch does not look by itself meanwhile, however long the reading takes.
    vi.useFakeTimers({ toFake: ['setTimeout'] });
    const next = start();
    vi.useRealTimers();
    writeFileSync(file, text(LARGE));
    watch?.reload();
    // Half of it is valid, too.
    writeFileSync(file, text(LARGE - 1));
    expect(await next()).toBe(`good: ${LARGE + 3}`);
    rmSync(file);
    watch?.reload();
    expect(await next()).toBe('bad: 1');
  });

  it('tells of a bad one that is no text, at once', async () => {
    writeFileSync(file, text(1));
    const next = start();
    writeFileSync(file, Buffer.concat([Buffer.from(text(LARGE)), Buffer.of(0xff)]));
    watch?.reload();
    expect(await next()).toBe('bad: 1');
  });

  it('tells of the last one only, when another comes while it is read', async () => {
    writeFileSync(file, text(1));
    const next = start();
    writeFileSync(file, text(LARGE));
    watch?.reload();
    writeFileSync(file, text(LARGE + 1));
    watch?.reload();
    writeFileSync(file, text(2));
    watch?.reload();
    expect(await next()).toBe('good: 5');
    writeFileSync(file, text(LARGE));
    watch?.reload();
    expect(await next()).toBe(`good: ${LARGE + 3}`);
  });
});
