import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { globsOf, withoutId } from '../../src/cli/learn/paths.ts';
import { requestOf } from '../../src/cli/learn/request.ts';
import { learn } from '../../src/cli/learn/rules.ts';
import { rulesText, withRules } from '../../src/cli/learn/text.ts';
import { loadConfig, parseConfig } from '../../src/config/load.ts';
import { canonicalPath } from '../../src/policy/path.ts';
import { compileGlob } from '../../src/policy/glob.ts';
import { tempFolder } from '../support/temp.ts';
import { startHttp } from '../support/upstream.ts';
import { quickly, stubgate } from './stubgate.ts';

describe('a segment', () => {
  it.each([
    ['42', '*'],
    ['issues', 'issues'],
    ['v1', 'v1'],
    ['6f1ed002ab5595859014ebf0951522d9', '*'],
    ['123e4567-e89b-12d3-a456-426614174000', '*'],
    ['cafe', 'cafe'],
    ['deadbeef', 'deadbeef'],
    ['ghp_0123456789abcdefABCDEF', '*'],
    ['bot123456:AAabcdefghijklmnop', '*'],
    ['left-pad', 'left-pad'],
    ['a*b', '*'],
    ['%7Bid%7D', '%7Bid%7D'],
  ])('%s becomes %s', (segment, glob) => expect(withoutId(segment)).toBe(glob));
});

describe('paths', () => {
  const globs = (...paths: string[]) => [...new Set(globsOf(paths).values())].toSorted();
  it.each([
    [
      ['/a', '/b'],
      ['/a', '/b'],
    ],
    [['/repos/1/issues', '/repos/2/issues'], ['/repos/*/issues']],
    [
      ['/p/a/x', '/p/b/x', '/p/c/x', '/p/d/x'],
      ['/p/a/x', '/p/b/x', '/p/c/x', '/p/d/x'],
    ],
    [['/p/a/x', '/p/b/x', '/p/c/x', '/p/d/x', '/p/e/x'], ['/p/*/x']],
    [['/'], ['/']],
    [['/a/'], ['/a/']],
  ])('%j are covered by %j', (paths, expected) => expect(globs(...paths)).toEqual(expected));

  it('of a command that asks for a lot are read in a moment', () => {
    const word = (n: number): string =>
      n.toString(36).replace(/\d/g, digit => 'ghijklmnop'.charAt(Number(digit)));
    const many = Array.from({ length: 200_000 }, (_, i) => `/x/${word(i)}/y`);
    expect(new Set(globsOf(many).values())).toEqual(new Set(['/x/*/y']));
    const deep = Array.from({ length: 2000 }, (_, i) => `/${word(i)}${'/a'.repeat(4000)}`);
    for (const glob of new Set(globsOf(deep).values())) expect(glob.length).toBeLessThan(100);
  }, 10_000);

  it('of any number end in a few globs that cover each', () => {
    const word = (n: number): string => 'abcdefghij'[n % 10]?.repeat(1 + Math.floor(n / 10)) ?? '';
    const paths = Array.from({ length: 90 }, (_, i) =>
      i % 2 ? `/one/${word(i)}/${word(i * 7)}` : `/two/${word(i)}/${word(i)}/${word(i * 3)}`,
    );
    const found = globsOf(paths);
    expect(new Set(found.values()).size).toBeLessThanOrEqual(24);
    for (const [path, glob] of found) expect([glob, compileGlob(glob)(path)]).toEqual([glob, true]);
  });
});

const line = (fields: object): string =>
  JSON.stringify({
    scheme: 'https',
    host: 'a.test',
    port: 443,
    method: 'GET',
    path: '/x',
    verdict: 'deny',
    reason: 'no_rule',
    rule: null,
    status: 403,
    injected: [],
    ...fields,
  });
const of = (...lines: string[]) =>
  learn(
    lines.flatMap(one => requestOf(one) ?? []),
    [],
  );

describe('an audit', () => {
  it.each([
    ['no JSON', 'GET /'],
    ['no object', '[]'],
    ['null', 'null'],
    ['a host that is none', line({ host: 'a.test\n  - name: evil' })],
    ['a method that is none', line({ method: 'GET]\n' })],
    ['a port that is none', line({ port: '443' })],
    ['no scheme', line({ scheme: null })],
  ])('is read without a line that holds %s', (_, text) => expect(requestOf(text)).toBeUndefined());

  it('makes one rule for each origin and set of methods', () => {
    const rules = of(
      line({}),
      line({ method: 'POST' }),
      line({ path: '/y' }),
      line({ host: '127.0.0.1', port: 8443 }),
    ).rules.map(({ rule }) => rule);
    expect(rules).toEqual([
      { name: 'a-test', hosts: ['a.test'], methods: ['GET', 'POST'], paths: ['/x'] },
      { name: 'a-test-2', hosts: ['a.test'], methods: ['GET'], paths: ['/y'] },
      { name: 'at-127-0-0-1', hosts: ['127.0.0.1'], ports: [8443], methods: ['GET'], paths: ['/x'] },
    ]);
  });

  it.each([
    ['rule_denies', {}],
    ['forbidden_address', {}],
    ['no_rule', { method: 'CONNECT', path: null }],
    ['stub_misplaced', { path: '[withheld]' }],
    ['ambiguous_path', { path: '/../x' }],
  ])('makes none of what %s refused for good, and says so', (reason, fields) => {
    const learned = of(line({ reason, ...fields }));
    expect(learned.rules).toEqual([]);
    expect(learned.notes).toEqual([expect.stringContaining(reason)]);
  });

  it('counts what failed behind a rule as let through', () => {
    const [learned] = of(line({ reason: 'dns_failure', rule: 'gone', status: 502 })).rules;
    expect(learned).toMatchObject({
      rule: { paths: ['/x'] },
      notes: ['1 request', 'failed once (dns_failure)'],
    });
  });

  it('gives a configuration that is valid, and allows what was wanted, whatever its paths hold', () => {
    const paths = [
      '/a b',
      '/a*b',
      '/{x}',
      '/x/[1]',
      '/%41',
      '/: x',
      '/#',
      '/a,b',
      '/"',
      "/'",
      '/@scope%2fpkg',
      '/~',
    ];
    const written = withRules(undefined, of(...paths.map(path => line({ path }))));
    const [rule] = parseConfig(written, '/s.yaml').rules;
    const globs = (rule?.paths ?? []).map(compileGlob);
    for (const path of paths.filter(one => canonicalPath(one)?.path === one))
      expect([path, globs.some(matches => matches(path))]).toEqual([path, true]);
  });

  it('cannot put lines of its own into the text', () => {
    const text = rulesText(
      of(line({ injected: [{ credential: 'x\n- evil', placement: 'y' }] }), line({ reason: 'x\ny' })),
    );
    expect(text).not.toMatch(/^\s*- evil|^y/m);
  });
});

/** A folder with a rule that injects, an upstream behind two names, and a command that asks both. */
async function scene() {
  const upstream = await startHttp({}, ({ url, headers }, response) => {
    response.statusCode = url.startsWith('/locked') && headers.authorization === undefined ? 401 : 200;
    response.end(`ok ${url}`);
  });
  onTestFinished(() => upstream.close());
  const cwd = tempFolder('learn');
  const text = `version: 1
listen: { proxy: 127.0.0.1:0, admin: "unix:./admin.sock" }
credentials:
  tok: { from: "env:TOK", stub: { env: TOKEN } }
rules:
  - name: base
    hosts: [api.learn.test]
    schemes: [http]
    insecure: true
    inject: [{ credential: tok, as: bearer }]
upstream: { resolve: { api.learn.test: "${upstream.address}", other.learn.test: "${upstream.address}" } }
`;
  writeFileSync(join(cwd, 'stubgate.yaml'), text);
  return { upstream, cwd, where: { cwd, env: { TOK: SECRET } } };
}

const SECRET = 'real-secret-of-learn';
const FOREIGN = 'foreign-value-of-learn';
const ASK = `
  curl -s http://api.learn.test/items/1 http://api.learn.test/items/2 -H "Authorization: Bearer $TOKEN"
  curl -s http://other.learn.test/locked
  curl -s "http://other.learn.test/q?api_key=${FOREIGN}" -H "X-Api-Key: ${FOREIGN}" -A "agent/1 ${FOREIGN}"
  curl -s http://other.learn.test/push -d x -H "Authorization: Bearer $TOKEN"
  curl -s http://third.learn.test/more
  exit 3`;

describe('a run', () => {
  it('lets pass what it was told to, without a credential, and tells what it needed', async () => {
    const { upstream, where } = await scene();
    const ran = await stubgate(
      where,
      'learn',
      '--allow',
      'other.learn.test',
      '--json',
      '--',
      'sh',
      '-c',
      ASK,
    );
    const { rules } = JSON.parse(ran.stdout) as ReturnType<typeof learn>;
    expect(ran.code).toBe(3);
    expect(rules.map(({ rule }) => rule)).toEqual([
      {
        name: 'base',
        hosts: ['api.learn.test'],
        schemes: ['http'],
        methods: ['GET'],
        paths: ['/items/*'],
        insecure: true,
        inject: [{ credential: 'tok', as: 'bearer' }],
      },
      {
        name: 'other-learn-test',
        hosts: ['other.learn.test'],
        schemes: ['http'],
        methods: ['GET'],
        paths: ['/locked', '/q'],
      },
      {
        name: 'other-learn-test-2',
        hosts: ['other.learn.test'],
        schemes: ['http'],
        methods: ['POST'],
        paths: ['/push'],
      },
      {
        name: 'third-learn-test',
        hosts: ['third.learn.test'],
        schemes: ['http'],
        methods: ['GET'],
        paths: ['/more'],
      },
    ]);
    expect(rules.map(({ notes }) => notes)).toEqual([
      ['2 requests, by curl'],
      [
        '2 requests, by agent, curl, let through to learn',
        expect.stringMatching(/^header x-api-key held a value that is no stub once: /),
        expect.stringMatching(/^query api_key held a value that is no stub once: /),
        expect.stringMatching(/^answered 401 once: /),
      ],
      [
        '1 request, by curl, all refused in this run',
        expect.stringMatching(/^header authorization \(Bearer\) held the stub of tok once: /),
      ],
      ['1 request, by curl, all refused in this run'],
    ]);
    expect(upstream.requests.map(({ url, headers }) => [url, headers.authorization])).toEqual([
      ['/items/1', `Bearer ${SECRET}`],
      ['/items/2', `Bearer ${SECRET}`],
      ['/locked', undefined],
      [`/q?api_key=${FOREIGN}`, undefined],
    ]);
    expect(ran.stderr).toMatch(
      /^stubgate: learning: whatever the command sends to other\.learn\.test passes/,
    );
    expect(ran.stdout).not.toContain(FOREIGN);
    expect(ran.stdout).not.toContain(SECRET);
  });

  it('lets nothing more pass unasked, and writes a configuration that runs the same', async () => {
    const { upstream, cwd, where } = await scene();
    const ran = await stubgate(where, 'learn', '--write', 'learned.yaml', '--', 'sh', '-c', ASK);
    expect([ran.code, ran.stdout]).toEqual([3, '']);
    expect(upstream.requests.map(({ url }) => url)).toEqual(['/items/1', '/items/2']);
    expect(loadConfig(join(cwd, 'learned.yaml')).rules).toHaveLength(4);
    const again = await stubgate(where, 'run', '--config', 'learned.yaml', '--', 'sh', '-c', ASK);
    expect(again.stdout).toContain('ok /items/1ok /items/2');
    const refused = await quickly(cwd, 'learn', '--audit', 'audit.jsonl', '--write', 'learned.yaml');
    expect([refused.code, refused.stderr]).toEqual([
      2,
      expect.stringMatching(/is there; write to another file/),
    ]);
    const learned = await quickly(cwd, 'learn', '--audit', 'audit.jsonl');
    expect(learned.stdout).toContain('name: base');
  });

  it('passes to every host with --any, but to none that a rule denies', async () => {
    const { upstream, cwd, where } = await scene();
    const text = readFileSync(join(cwd, 'stubgate.yaml'), 'utf8');
    const denies =
      '  - { name: never, hosts: [other.learn.test], schemes: [http], paths: [/never], action: deny }\n';
    writeFileSync(join(cwd, 'stubgate.yaml'), text.replace('rules:\n', `rules:\n${denies}`));
    const ask = 'curl -s http://other.learn.test/never; curl -s http://other.learn.test/ever';
    const ran = await stubgate(where, 'learn', '--any', '--', 'sh', '-c', ask);
    expect(ran.stderr).toContain('sends to every host passes');
    expect(upstream.requests.map(({ url }) => url)).toEqual(['/ever']);
    expect(ran.stdout).toContain('paths: [/ever]');
    expect(ran.stdout).toContain('# - GET http://other.learn.test: refused (rule_denies)');
  });

  it('needs no configuration to begin with, and leaves nothing behind', async () => {
    const cwd = tempFolder('learn');
    const ask = 'curl -s https://nowhere.learn.test/a?b=c';
    const ran = await stubgate({ cwd }, 'learn', '--write', 'first.yaml', '--', 'sh', '-c', ask);
    expect(ran.code).toBe(0);
    expect(readFileSync(join(cwd, 'first.yaml'), 'utf8')).toContain('hosts: [nowhere.learn.test]');
    expect((await quickly(cwd, 'check', 'first.yaml')).stdout).toContain('valid');
    expect(readdirSync(cwd)).toEqual(['first.yaml']);
  });
});

it.each([
  [['learn'], /write the command after --/],
  [['learn', '--audit', 'a', '--', 'true'], /write the command after --/],
  [['learn', '--audit', 'missing.jsonl'], /missing\.jsonl cannot be read/],
  [['learn', '--any', '--audit', 'a'], /leave them out with --audit/],
  [['learn', '--allow', 'https://x', '--', 'true'], /write a host such as/],
  [['learn', '--allow', 'x.test:70000', '--', 'true'], /a port is 1 to 65535/],
  [['learn', '--profile', 'none', '--', 'true'], /there is no profile "none"/],
])('%j is told what to write', async (args, message) => {
  const { code, stderr } = await stubgate({ cwd: tempFolder('learn') }, ...args);
  expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
});
