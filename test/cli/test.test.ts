import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { policyFolder } from './policy.ts';
import { environment, MAIN, quickly } from './stubgate.ts';

const cases = (...written: string[]): string =>
  `version: 1\ncases:\n${written.map(one => `  - ${one.replaceAll('\n', '\n    ')}\n`).join('')}`;

const folder = (...written: string[]): string => policyFolder({ 'stubgate.cases.yaml': cases(...written) });

const run = (cwd: string, ...args: string[]) => quickly(cwd, 'test', ...args);

describe('a case passes', () => {
  it.each([
    'request: GET https://api.example.test/v1/x\nexpect: { verdict: allow, rule: api, inject: [{ credential: gh, as: bearer, at: header authorization }], dial: "api.example.test:443" }',
    'request: GET https://api.example.test/v1/x\nheaders: { authorization: "Bearer {stub:gh}" }\nexpect: { verdict: allow, inject: [{ credential: gh }] }',
    'request: GET https://api.example.test/v1/x\nheaders: { accept: text/html }\nexpect: { verdict: deny, reason: stub_missing, rule: api }',
    'request: GET https://api.example.test/v1/x\nheaders: { authorization: Bearer mine }\nexpect: { verdict: deny, reason: foreign_credential, rule: api }',
    'request: GET https://api.example.test/v1/x\nheaders: { authorization: "Bearer {stub:gh}", x-copy: "{stub:gh}" }\nexpect: { verdict: deny, reason: stub_misplaced }',
    'request: GET https://api.example.test/v1/x\nheaders: { authorization: "Bearer {stub:app}" }\nexpect: { verdict: deny, reason: stub_misplaced }',
    'request: GET https://api.example.test/v1/x?key={stub:gh}\nheaders: { authorization: "Bearer {stub:gh}" }\nexpect: { verdict: deny, reason: stub_misplaced }',
    'request: GET https://elsewhere.test/\nheaders: { authorization: "Bearer {stub:gh}" }\nexpect: { verdict: deny, reason: stub_misplaced, rule: null }',
    'request: GET https://api.example.test/v2/x\nheaders: { authorization: "Bearer {stub:gh}" }\nexpect: { verdict: deny, reason: no_rule, rule: null }',
    'request: GET https://api.example.test/v1/x\nheaders: { te: chunked, transfer-encoding: xchunked }\nexpect: { verdict: deny, reason: malformed_request }',
    'request: GET https://api.example.test/v1/x\nheaders: { host: other.example.test }\nexpect: { verdict: deny, reason: host_mismatch, rule: null }',
    'request: POST https://api.example.test/v1/x\nexpect: { verdict: deny, reason: no_rule, rule: null, inject: [] }',
    'request: GET https://api.example.test/%61dmin/x\nexpect: { verdict: deny, reason: rule_denies, rule: no-admin }',
    'request: GET https://api.example.test/v1/../x\nexpect: { verdict: deny, reason: ambiguous_path, rule: null }',
    'request: GET https://pinned.example.test/\nexpect: { verdict: tunnel, rule: pinned, inject: [], dial: "pinned.example.test:443" }',
    'request: GET https://moved.example.test:8443/\nexpect: { verdict: allow, dial: "127.0.0.1:9443" }',
    'request: GET https://10.0.0.1/\nexpect: { verdict: deny, reason: forbidden_address, rule: inner }',
    'request: GET https://10.1.0.1/\nexpect: { verdict: allow, dial: "10.1.0.1:443" }',
    'request: GET https://git.example.test/x\nexpect: { verdict: deny, reason: credential_unavailable, rule: clone }',
    'request: GET https://git.example.test/x\nas: { labels: { repo: widgets } }\nexpect: { verdict: allow, inject: [{ credential: app, as: basic }] }',
    'request: GET https://api.example.test/v1/x\nas: { profile: small }\nexpect: { verdict: deny, reason: no_rule }',
  ])('%s', async written => {
    expect(await run(folder(written))).toEqual({ code: 0, stdout: '1 case passes\n', stderr: '' });
  });
});

it('tells each failing case: what was expected, what it got, its line', async () => {
  const cwd = folder(
    'request: GET https://moved.example.test/\nexpect: { verdict: allow }',
    'name: writes\nrequest: POST https://api.example.test/v1/x\nexpect: { verdict: allow, rule: api, inject: [{ credential: gh }], dial: "x:1" }',
    'request: GET https://api.example.test/v1/x',
  );
  expect(await run(cwd)).toEqual({
    code: 1,
    stderr: '',
    stdout: `stubgate.cases.yaml:5: writes
  verdict: expected allow, got deny
  rule: expected api, got null
  inject: expected [{"credential":"gh"}], got []
  dial: expected x:1, got none
stubgate.cases.yaml:8: GET https://api.example.test/v1/x
  expect: expected nothing is written, got {"verdict":"allow","rule":"api","inject":[{"credential":"gh","as":"bearer","at":"header authorization"}],"dial":"api.example.test:443"}
2 of 3 cases fail; if that is meant, write it with --update
`,
  });
});

it('tells every problem of every file at once', async () => {
  const cwd = policyFolder({
    'a.cases.yaml':
      'version: 2\ncases:\n  - request: GET\n    expct: {}\n  - { request: GET https://a.test/, expect: { verdict: maybe, reason: because } }\n',
    'b.cases.yaml': 'version: 1\ncases: []\n',
  });
  const { code, stdout, stderr } = await run(cwd);
  expect([code, stdout]).toEqual([2, '']);
  expect(
    stderr
      .trimEnd()
      .split('\n')
      .map(line => line.replace(/^.*\/(?=[ab]\.cases)/, '')),
  ).toEqual([
    'a.cases.yaml:1:10: version: is not valid; write 1',
    'a.cases.yaml:3:14: cases[0].request: is not a request; write a request such as GET https://api.example.com/user',
    'a.cases.yaml:4:5: cases[0].expct: is no key of this mapping; did you mean "expect"?',
    'a.cases.yaml:5:56: cases[1].expect.verdict: is not valid; write allow, deny or tunnel',
    expect.stringMatching(/^a\.cases\.yaml:5:71: cases\[1\]\.expect\.reason: is not valid; write no_rule, /),
    'b.cases.yaml:2:8: cases: is empty; write one',
  ]);
});

it('tells of cases that cannot be asked', async () => {
  const cwd = folder(
    'request: get https://a.test/',
    'request: GET ftp://a.test/',
    'request: GET https://a.test/\nas: { profile: smal }',
    'request: GET https://a.test/\nheaders: { authorization: "Bearer {stub:ap}" }',
  );
  const { code, stderr } = await run(cwd);
  expect(code).toBe(2);
  expect(
    stderr
      .trimEnd()
      .split('\n')
      .map(line => line.replace(/^.*yaml:/, '')),
  ).toEqual([
    '3:14: cases[0].request: cannot be asked; write a method in capitals, and http:// or https:// with a host, a path and no fragment',
    '4:14: cases[1].request: cannot be asked; write a method in capitals, and http:// or https:// with a host, a path and no fragment',
    '6:20: cases[2].as.profile: names no profile of the configuration; did you mean "small"?',
    '8:31: cases[3].headers.authorization: holds a stub of no credential of the configuration; write one of gh, app',
  ]);
});

describe('the files', () => {
  it('are all that end in .cases.yaml, but for those of another configuration', async () => {
    const one = cases('request: GET https://moved.example.test/\nexpect: { verdict: allow }');
    const cwd = policyFolder({
      'stubgate.cases.yaml': one,
      'more.cases.yaml': one,
      'other.yaml': 'version: 1\nrules: []\n',
      'other.cases.yaml': cases('request: GET https://moved.example.test/\nexpect: { verdict: deny }'),
    });
    expect((await run(cwd)).stdout).toBe('2 cases pass\n');
    expect((await run(cwd, 'other.cases.yaml')).stdout).toBe('1 case passes\n');
    expect((await run(cwd, 'more.cases.yaml')).stdout).toBe('1 case passes\n');
    expect(await run(cwd, 'other.cases.yaml', '--config', 'stubgate.yaml')).toMatchObject({ code: 1 });
  });

  it('must be there', async () => {
    const { code, stderr } = await run(policyFolder({}));
    expect([code, stderr]).toEqual([
      2,
      expect.stringMatching(/^stubgate: there is no \*\.cases\.yaml beside .*; write one/),
    ]);
  });
});

describe('coverage', () => {
  const covering = 'request: GET https://api.example.test/v1/x\nexpect: { verdict: allow }';

  it('tells which rules no case touches', async () => {
    const { code, stdout } = await run(folder(covering), '--coverage');
    expect([code, stdout]).toEqual([
      0,
      `1 case passes\n1 of 6 rules are touched by a case\n${['pinned', 'no-admin', 'clone', 'inner', 'moved'].map(name => `  no case touches rule ${name}\n`).join('')}`,
    ]);
  });

  it('can be required', async () => {
    expect((await run(folder(covering), '--require-coverage')).code).toBe(1);
    const cwd = policyFolder({
      'stubgate.yaml': 'version: 1\nrules: [{ name: a, hosts: [a.test] }]\n',
      'stubgate.cases.yaml': cases('request: GET https://a.test/\nexpect: { verdict: allow }'),
    });
    expect((await run(cwd, '--require-coverage')).code).toBe(0);
  });
});

it('tells programs', async () => {
  const cwd = folder('request: GET https://moved.example.test/\nexpect: { verdict: deny }');
  const { code, stdout } = await run(cwd, '--json');
  expect(code).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({
    passed: 0,
    failed: 1,
    cases: [
      {
        line: 3,
        ok: false,
        mismatches: [{ key: 'verdict', expected: 'deny', got: 'allow' }],
        outcome: { verdict: 'allow', rule: 'moved' },
      },
    ],
    untouched_rules: ['pinned', 'no-admin', 'api', 'clone', 'inner'],
  });
});

it('writes JUnit XML, whatever a case is called', async () => {
  const cwd = folder(
    'request: GET https://moved.example.test/\nexpect: { verdict: allow }',
    'name: "<b> & \\"c\\" \\a"\nrequest: GET https://moved.example.test/\nexpect: { verdict: deny }',
  );
  expect((await run(cwd, '--junit', 'out.xml')).code).toBe(1);
  const xml = readFileSync(join(cwd, 'out.xml'), 'utf8').replaceAll(cwd, '');
  expect(xml).toBe(`<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="stubgate test" tests="2" failures="1">
  <testsuite name="/stubgate.cases.yaml" tests="2" failures="1" errors="0" skipped="0">
    <testcase name="GET https://moved.example.test/" classname="/stubgate.cases.yaml" file="/stubgate.cases.yaml" line="3"/>
    <testcase name="&#60;b&#62; &#38; &#34;c&#34; \ufffd" classname="/stubgate.cases.yaml" file="/stubgate.cases.yaml" line="5">
      <failure message="/stubgate.cases.yaml:5: verdict: expected deny, got allow" type="failure">verdict: expected deny, got allow</failure>
    </testcase>
  </testsuite>
</testsuites>
`);
});

it('updates what cases expect, and keeps the comments', async () => {
  const cwd = policyFolder({
    'stubgate.cases.yaml': `# head
version: 1

cases:
  # reads
  - request: GET https://api.example.test/v1/x # one
    expect:
      verdict: deny # was denied
      reason: no_rule
      rule: null
      inject: [] # nothing

  # new
  - name: new
    request: GET https://api.example.test/v2/x
  # as it is
  - request: GET https://moved.example.test/
    expect: { verdict: allow, rule: moved } # kept
`,
  });
  const { code, stdout } = await run(cwd, '--update');
  expect([code, stdout.replace(cwd, '')]).toEqual([0, '/stubgate.cases.yaml: 2 updated\n3 cases pass\n']);
  expect(readFileSync(join(cwd, 'stubgate.cases.yaml'), 'utf8')).toBe(`# head
version: 1

cases:
  # reads
  - request: GET https://api.example.test/v1/x # one
    expect:
      verdict: allow # was denied
      rule: api
      inject: [ { credential: gh, as: bearer } ]

  # new
  - name: new
    request: GET https://api.example.test/v2/x
    expect: { verdict: deny, reason: no_rule, rule: null }
  # as it is
  - request: GET https://moved.example.test/
    expect: { verdict: allow, rule: moved } # kept
`);
  expect((await run(cwd, '--update')).stdout).toBe('3 cases pass\n');
});

it('runs again when a case changes, also after one that is not valid', async () => {
  const cwd = folder('request: GET https://moved.example.test/\nexpect: { verdict: allow }');
  const child = spawn(process.execPath, [MAIN, 'test', '--watch'], {
    cwd,
    env: environment({ cwd }),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const until = (text: string): Promise<void> =>
    new Promise(resolve => {
      const look = (): void => {
        if (!output.includes(text)) return;
        output = '';
        child.stdout.off('data', look);
        child.stderr.off('data', look);
        resolve();
      };
      child.stdout.on('data', look);
      child.stderr.on('data', look);
      look();
    });
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  try {
    const file = join(cwd, 'stubgate.cases.yaml');
    await until('1 case passes');
    writeFileSync(file, cases('request: GET https://moved.example.test/\nexpect: { verdict: deny }'));
    await until('1 of 1 case fails');
    writeFileSync(file, 'version: 1\n');
    await until('cases: is missing');
    writeFileSync(join(cwd, 'stubgate.yaml'), 'version: 1\nrules: []\n');
    writeFileSync(file, cases('request: GET https://moved.example.test/\nexpect: { verdict: deny }'));
    await until('1 case passes');
  } finally {
    child.kill();
  }
});

it.each(['config/stubgate.yaml', 'examples/agent/stubgate.yaml'])(
  'passes, with coverage, for %s',
  async file => {
    const root = fileURLToPath(new URL('../../', import.meta.url));
    expect(await run(root, file, '--require-coverage')).toMatchObject({ code: 0 });
  },
);
