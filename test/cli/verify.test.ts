import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { tempFolder } from '../audit/event.ts';
import { BEARER, writeRules } from '../proof/stage.ts';
import { needs, npmCli } from '../support/clients.ts';
import { testCa } from '../support/pki.ts';
import { startGit } from '../support/upstreams/git.ts';
import { quickly, type Ran, stubgate } from './stubgate.ts';

const SECRET = 'Real-secret-of-this-test-0123456789';

interface Leak {
  credential: string;
  kind: string;
  place: string;
  spelling: string;
}
interface Told {
  proved: boolean;
  program: {
    exitCode: number;
    leaks: Leak[];
    unseen: unknown[];
    allowed: number;
    breakOuts: { what: string; verdict: string; detail: string }[];
  };
}

/** A folder with a configuration of these rules; HOME and TMPDIR are in it. */
function project(...rules: string[]): { cwd: string; env: Record<string, string> } {
  const cwd = tempFolder();
  writeRules(join(cwd, 'stubgate.yaml'), ...(rules.length > 0 ? rules : [BEARER]));
  mkdirSync(join(cwd, 'tmp'));
  return { cwd, env: { TMPDIR: join(cwd, 'tmp') } };
}

const told = ({ stdout, stderr }: Ran): Told => {
  try {
    return JSON.parse(stdout) as Told;
  } catch {
    throw new Error(`${stdout}\n${stderr}`);
  }
};

describe('stubgate verify', () => {
  it('tells of each rule, the matrix and the verdict, and writes JUnit and SARIF', async () => {
    const { cwd } = project(
      '{ name: all, hosts: [api.test], methods: [GET] }',
      BEARER.replace('api.test', 'api.test], methods: [GET'),
    );
    const { code, stdout } = await quickly(cwd, 'verify', '--junit', 'out.xml', '--sarif', 'out.sarif');
    expect(code).toBe(1);
    expect(stdout).toMatch(/^pass {5}default: all, injects nothing: \d+ probes$/m);
    expect(stdout).toMatch(/^not run {2}default: api, token in header authorization: 0 probes$/m);
    expect(stdout).toMatch(
      /^ {9}not run: all: no request reaches the rule, for rules above it take them all$/m,
    );
    expect(stdout).toMatch(/^compressed body +\d+ +\d+ +\d+ +\d+$/m);
    expect(stdout).toMatch(
      /nothing leaked, but not everything was tried: \d+ probes in [\d.]+ s, 1 not run\n$/,
    );
    const xml = readFileSync(join(cwd, 'out.xml'), 'utf8');
    expect(xml).toContain('<testsuites name="stubgate verify" tests="3" failures="1">');
    expect(xml).toContain('line="5"');
    const { runs } = JSON.parse(readFileSync(join(cwd, 'out.sarif'), 'utf8')) as {
      runs: { results: { ruleId: string; locations: unknown[] }[] }[];
    };
    expect(runs[0]?.results).toMatchObject([
      {
        ruleId: 'SGV002',
        level: 'error',
        locations: [
          {
            physicalLocation: {
              artifactLocation: { uri: 'stubgate.yaml' },
              region: { startLine: 5, startColumn: 5 },
            },
          },
        ],
      },
    ]);
  });

  it('says the same as JSON, and exits with 0 if all is proved', async () => {
    const { code, stdout } = await quickly(project().cwd, 'verify', '--json');
    expect(JSON.parse(stdout)).toMatchObject({
      proved: true,
      rules: [{ verdict: 'pass', rule: 'api', credential: 'token', leaks: [], notRun: [] }],
      elsewhere: [],
    });
    expect(code).toBe(0);
  });

  it.each([
    [['--profile', 'none'], 'there is no profile "none"; write one of default'],
    [['--isolate'], '--isolate, --real, --writable and --watch are for a command; write it after --'],
    [['--writable', '.', '--', 'true'], '--writable says what an isolated command may write; add --isolate'],
  ])('refuses %j', async (args, message) => {
    const { code, stderr } = await quickly(project().cwd, 'verify', ...args);
    expect(stderr).toContain(message);
    expect(code).toBe(2);
  });
});

const PYTHON = `
import os, requests
r = requests.get('https://api.test/user', headers={'authorization': 'Bearer ' + os.environ['TOKEN']})
r.raise_for_status()
print(r.json()['headers']['authorization'] == 'Bearer ' + os.environ['TOKEN'])`;

const NODE = `
const headers = { authorization: 'Bearer ' + process.env.TOKEN };
const told = await (await fetch('https://api.test/user', { headers })).json();
console.log(told.headers.authorization === headers.authorization);`;

describe('stubgate verify -- CMD', () => {
  needs('python3')('passes a Python script with requests', async () => {
    const ran = await stubgate(project(), 'verify', '--json', '--', 'python3', '-c', PYTHON);
    expect(told(ran)).toMatchObject({
      proved: true,
      program: { exitCode: 0, allowed: 1, leaks: [], unseen: [] },
    });
    expect(ran.stderr).toBe('True\n');
    expect(ran.code).toBe(0);
  });

  it('passes a Node program', async () => {
    const ran = await stubgate(
      project(),
      'verify',
      '--json',
      '--',
      process.execPath,
      '--input-type=module',
      '-e',
      NODE,
    );
    expect(told(ran)).toMatchObject({ proved: true, program: { exitCode: 0, allowed: 1, leaks: [] } });
    expect(ran.stderr).toBe('true\n');
  });

  needs('git')('passes git and npm in one shell script', async () => {
    const HOST = 'git.test';
    const upstream = await startGit({
      host: HOST,
      credential: 'x-access-token:unknown',
      repositories: ['acme/hello.git'],
    });
    try {
      const { cwd, env } = project(
        `{ name: git, hosts: [${HOST}], inject: [{ credential: token, as: basic, username: x-access-token }] }`,
        '{ name: npm, hosts: [npm.test], inject: [{ credential: token, as: bearer }] }',
      );
      const ca = await testCa();
      const file = join(cwd, 'stubgate.yaml');
      const where = `upstream: { ca_file: ${ca.file}, resolve: { ${HOST}: "127.0.0.1:${upstream.port}" } }\n`;
      writeFileSync(file, `${readFileSync(file, 'utf8')}${where}`);
      writeFileSync(join(cwd, '.npmrc'), 'registry=https://npm.test/\n//npm.test/:_authToken=${TOKEN}\n');
      const script = [
        // The stand-in wants another password than the canary: its refusal went there and back.
        `git ls-remote https://${HOST}/acme/hello.git 2>&1 | grep -c 'Authentication failed'`,
        `'${process.execPath}' '${npmCli()}' view anything --fetch-retries=0 --no-update-notifier >/dev/null 2>&1`,
        'true',
      ].join('\n');
      const ran = await stubgate({ cwd, env }, 'verify', '--json', '--', 'sh', '-c', script);
      expect(told(ran).program).toMatchObject({ leaks: [], unseen: [] });
      expect(told(ran).program.allowed).toBeGreaterThanOrEqual(3);
      expect(ran.stderr).toContain('1\n');
      expect(ran.code).toBe(0);
      expect(upstream.requests.some(({ headers }) => headers.authorization?.startsWith('Basic '))).toBe(true);
    } finally {
      await upstream.close();
    }
  });

  /** Waits long enough to be looked at. */
  const WAIT = 'sleep 0.6';

  it.each<[string, string, kind: string, place: RegExp, spelling: string]>([
    [
      'its environment',
      `OTHER=x-${SECRET} ${WAIT}`,
      'environment',
      /^process \d+ \(sleep\): variable OTHER$/,
      'as it is',
    ],
    [
      'a command line',
      `sh -c '${WAIT}; :' ${SECRET}`,
      'command line',
      /^process \d+ \(sh\): argument 3$/,
      'as it is',
    ],
    [
      'a file',
      `echo "token: $(printf %s ${SECRET} | base64)" >notes.txt`,
      'file',
      /\/notes\.txt, offset 7$/,
      'base64',
    ],
    ['a file in TMPDIR', `echo ${SECRET} >"$TMPDIR/x"`, 'file', /\/tmp\/x, offset 0$/, 'as it is'],
    [
      'a file without a name',
      `exec 7<>gone; rm gone; echo ${SECRET} >&7; ${WAIT}`,
      'file',
      /: its open file .*\/gone \(deleted\), offset 0$/,
      'as it is',
    ],
    ['its output', `echo one; printf %s ${SECRET} | od -An -v -tx1`, 'output', /^stdout/, 'hex'],
    ['its errors', `echo ${SECRET} >&2`, 'output', /^stderr, line 1$/, 'as it is'],
  ])('finds a secret in %s, and says where', async (_, script, kind, place, spelling) => {
    const { cwd, env } = project();
    writeFileSync(join(cwd, 'script'), script);
    const ran = await stubgate(
      { cwd, env: { ...env, STUBGATE_TEST_TOKEN: SECRET } },
      'verify',
      '--real',
      '--json',
      '--',
      'sh',
      'script',
    );
    const found = told(ran).program.leaks.filter(leak => leak.kind === kind);
    expect(found).toContainEqual({
      credential: 'env:STUBGATE_TEST_TOKEN',
      kind,
      place: expect.stringMatching(place) as string,
      spelling,
    });
    expect(told(ran).proved).toBe(false);
    expect(ran.stdout).not.toContain(SECRET);
    expect(ran.code).toBe(1);
  });

  it('finds a secret in memory, and says in which process and where', async () => {
    const { cwd, env } = project();
    writeFileSync(join(cwd, 'half'), SECRET.slice(0, 10));
    const program = `
      const held = Buffer.from(require('node:fs').readFileSync('half', 'utf8') + '${SECRET.slice(10)}').toString('hex');
      setTimeout(() => console.log(held.length), 1200);`;
    const ran = await stubgate(
      { cwd, env: { ...env, STUBGATE_TEST_TOKEN: SECRET } },
      'verify',
      '--real',
      '--json',
      '--',
      process.execPath,
      '-e',
      program,
    );
    expect(told(ran).program.leaks).toContainEqual({
      credential: 'env:STUBGATE_TEST_TOKEN',
      kind: 'memory',
      place: expect.stringMatching(/^process \d+ \([\w-]+\): memory, .+, at 0x[0-9a-f]+$/) as string,
      spelling: 'hex',
    });
    expect(ran.code).toBe(1);
  });

  it('follows a process that leaves its parent', async () => {
    const { cwd, env } = project();
    const script = `(OTHER=${SECRET} setsid sleep 0.8 >/dev/null 2>&1 &); sleep 0.5`;
    writeFileSync(join(cwd, 'script'), script);
    const ran = await stubgate(
      { cwd, env: { ...env, STUBGATE_TEST_TOKEN: SECRET } },
      'verify',
      '--real',
      '--json',
      '--',
      'sh',
      'script',
    );
    expect(told(ran).program.leaks).toContainEqual(
      expect.objectContaining({
        kind: 'environment',
        place: expect.stringMatching(/\(sleep\): variable OTHER$/) as string,
      }),
    );
  });

  it('says which ways out were not tried without isolation, which is no failure', async () => {
    const { stdout, code } = await stubgate(project(), 'verify', '--', 'true');
    expect(stdout).toMatch(/break-outs not run \(they need --isolate\): direct connections; DNS;/);
    expect(code).toBe(0);
  });

  it('fails for a command that is not there', async () => {
    const { stdout, code } = await stubgate(project(), 'verify', '--', 'no-such-command-here');
    expect(stdout).toMatch(/not seen: the command: it was not there, or could not be run: exit code 127/);
    expect(code).toBe(1);
  });

  it('shows no secret that stands in the command itself', async () => {
    const { cwd, env } = project();
    const ran = await stubgate(
      { cwd, env: { ...env, STUBGATE_TEST_TOKEN: SECRET } },
      'verify',
      '--real',
      '--',
      'sh',
      '-c',
      'sleep 0.3',
      SECRET,
    );
    expect(ran.stdout).toContain('[argument 3: env:STUBGATE_TEST_TOKEN]');
    expect(ran.stdout).not.toContain(SECRET);
  });

  const ends = [
    ['', 'sleep 4'],
    [', though a process that has ended is left lying about in it', `sh -c 'true & exec sleep 4'`],
  ] as const;
  for (const [what, end] of ends)
    needs('bwrap')(`looks into the folders that an isolated sandbox has of its own${what}`, async () => {
      const { cwd, env } = project();
      writeFileSync(join(cwd, 'script'), `echo ${SECRET} >/tmp/notes; ${end}`);
      const where = { cwd, env: { ...env, STUBGATE_TEST_TOKEN: SECRET } };
      const ran = await stubgate(where, 'verify', '--real', '--isolate', '--json', '--', 'sh', 'script');
      expect(told(ran).program.leaks).toContainEqual({
        credential: 'env:STUBGATE_TEST_TOKEN',
        kind: 'file',
        place: 'file /tmp/notes of the sandbox, offset 0',
        spelling: 'as it is',
      });
    });

  needs('bwrap')('tries each way out of an isolated sandbox from inside, and all are closed', async () => {
    const ran = await stubgate(
      project(),
      'verify',
      '--isolate',
      '--json',
      '--',
      process.execPath,
      '--input-type=module',
      '-e',
      NODE,
    );
    const { proved, program } = told(ran);
    expect(program.breakOuts.filter(({ verdict }) => verdict !== 'closed')).toEqual([]);
    const what = program.breakOuts.map(one => one.what).join('\n');
    for (const way of [
      'public address',
      'private address',
      'metadata service',
      'DNS by UDP',
      'DNS by TCP',
      'admin listener',
      'ca.key',
      'net namespace',
      'raw sockets',
      'without its credential',
    ])
      expect(what).toContain(way);
    expect(program).toMatchObject({ exitCode: 0, allowed: 1, leaks: [], unseen: [] });
    expect(proved).toBe(true);
  });
});
