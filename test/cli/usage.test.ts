import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { AuditLog } from '../../src/audit/log.ts';
import { auditEvent, tempFolder } from '../audit/event.ts';
import { quickly, stubgate } from './stubgate.ts';

const CONFIG = `version: 1
credentials: { gh: { from: env:GH, stub: { env: GITHUB_TOKEN } } }
rules:
  - { name: api, hosts: [api.example.test], methods: [GET], inject: [{ credential: gh, as: bearer }] }
`;

function folder(config = CONFIG): string {
  const cwd = tempFolder();
  writeFileSync(join(cwd, 'stubgate.yaml'), config);
  return cwd;
}

describe('exit codes', () => {
  const table: [args: string, code: number, says: RegExp][] = [
    ['--version', 0, /^\d+\.\d+\.\d+\n$/],
    ['--help', 0, /Example:/],
    ['', 2, /Usage: stubgate/],
    ['chek', 2, /unknown command 'chek'\n\(Did you mean check\?\)/],
    ['constructor', 2, /unknown command 'constructor'/],
    ['start --nope', 2, /unknown option '--nope'/],
    ['start --log-level loud', 2, /Allowed choices are debug, info, warn, error/],
    ['check', 0, /stubgate\.yaml: valid/],
    [
      'check nowhere.yaml',
      2,
      /nowhere\.yaml:1:1: the file cannot be read \(ENOENT\); write one with `stubgate init`/,
    ],
    ['start --config nowhere.yaml', 2, /nowhere\.yaml:1:1: the file cannot be read/],
    ['explain GET https://api.example.test/', 0, /allow: rule api/],
    ['explain POST https://api.example.test/', 1, /deny: no_rule/],
    ['explain GET wss://api.example.test/', 0, /allow: rule api\n  a WebSocket: /],
    ['explain POST wss://api.example.test/', 2, /write GET, which is what a WebSocket begins with/],
    ['explain GET https://api.example.test/ --profile x', 2, /there is no profile "x"; write one of default/],
    ['run --profile x -- true', 2, /there is no profile "x"; write one of default/],
    ['run', 2, /missing required argument 'command'/],
    ['session list', 1, /no gate answers at 127\.0\.0\.1:8081; start one with "stubgate start"/],
    ['session show', 2, /missing required argument 'id'/],
    ['session create --label x', 2, /--label x: write name=value/],
    ['ca export', 1, /there is no CA at .*; make it with "stubgate ca init"/],
    ['ca rotate', 1, /there is no CA at .*; make it with "stubgate ca init"/],
    ['init', 2, /stubgate\.yaml is there; .*--out.*--force/],
    ['init --with gihub', 2, /no preset gihub; did you mean "github"\?/],
    ['audit tail -n x', 2, /--lines x: write a number/],
    ['audit tail', 1, /ENOENT.*audit\.jsonl/],
    ['audit verify --expect x', 2, /write the 64 hex digits/],
  ];

  it.each(table)('of "%s"', async (args, code, says) => {
    const words = args.split(' ').filter(Boolean);
    // These two change their process.
    const apart = /^(start|run) -/.test(args);
    const ran = await (apart ? stubgate({ cwd: folder() }, ...words) : quickly(folder(), ...words));
    expect(ran.stdout + ran.stderr).toMatch(says);
    expect(ran.code).toBe(code);
    expect(ran.stderr).not.toMatch(/\n\s+at /);
    // Results on stdout, the rest on stderr.
    expect(ran.stdout === '').toBe(ran.stderr !== '');
  });

  it('is 2 where there is no configuration', async () => {
    const { code, stderr } = await stubgate({ cwd: tempFolder() }, 'check');
    expect([code, stderr]).toEqual([
      2,
      expect.stringMatching(/^stubgate: no configuration: .*stubgate init/),
    ]);
  });

  it('tells every problem of a configuration on its own line', async () => {
    const cwd = folder('version: 1\nrules: []\nrule: []\naudti: {}\n');
    const { code, stderr } = await quickly(cwd, 'ca', 'init');
    expect(code).toBe(2);
    expect(stderr.trimEnd().split('\n')).toEqual([
      expect.stringMatching(/stubgate\.yaml:3:1: rule: /),
      expect.stringMatching(/stubgate\.yaml:4:1: audti: /),
    ]);
  });
});

it.each('start run session check explain test diff init ca audit'.split(' '))(
  'has an example in the help of %s',
  async verb => {
    const { code, stdout } = await quickly(tempFolder(), verb, '--help');
    expect(stdout).toMatch(/Example:\n {2}(eval "\$\()?stubgate /);
    expect(code).toBe(0);
  },
);

describe('check', () => {
  it('exits 1 for what is probably not meant', async () => {
    const { code, stdout } = await quickly(folder('version: 1\nrules: []\n'), 'check', '--json');
    expect(code).toBe(1);
    const { valid, errors, warnings } = JSON.parse(stdout) as Record<string, unknown>;
    expect({ valid, errors }).toEqual({ valid: true, errors: [] });
    expect(warnings).toMatchObject([{ line: 2, path: 'rules' }]);
  });

  it('exits 2 for a configuration that is not valid', async () => {
    const { code, stdout } = await quickly(folder('version: 1\nrulse: []\n'), 'check', '--json');
    expect(code).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({ valid: false, errors: [{ line: 2, path: 'rulse' }] });
  });
});

describe('ca', () => {
  it('exports what init made', async () => {
    const cwd = folder();
    const made = await quickly(cwd, 'ca', 'init');
    expect(made.stdout).toMatch(/^subject .*CN=.*\nsha256 {2}([0-9A-F]{2}:){31}[0-9A-F]{2}\nexpires \d{4}-/);
    const { stdout } = await quickly(cwd, 'ca', 'export');
    expect(stdout.match(/BEGIN CERTIFICATE/g)).toHaveLength(1);
    const bundle = await quickly(cwd, 'ca', 'export', '--bundle');
    expect(bundle.stdout).toContain(stdout.trim());
    expect(bundle.stdout.match(/BEGIN CERTIFICATE/g)?.length).toBeGreaterThan(1);
  });
});

describe('audit', () => {
  function written(cwd: string): string {
    const file = join(cwd, 'audit.jsonl');
    const log = new AuditLog(file);
    for (const request_id of ['a', 'b', 'c']) log.write(auditEvent({ request_id }));
    log.close();
    return file;
  }

  it('verify reads the configured file, and tells its last hash', async () => {
    const cwd = folder();
    written(cwd);
    const { code, stdout } = await quickly(cwd, 'audit', 'verify');
    expect(code).toBe(0);
    const last =
      /^3 lines, one chain; nothing is missing between them\nlast ([0-9a-f]{64})\n$/.exec(stdout)?.[1] ?? '';
    const again = await quickly(cwd, 'audit', 'verify', '--expect', last);
    expect(again.code).toBe(0);
    const other = await quickly(cwd, 'audit', 'verify', '--expect', 'a'.repeat(64), '--json');
    expect(other.code).toBe(1);
    expect(JSON.parse(other.stdout)).toMatchObject({ lines: 3, findings: [{ kind: 'truncated' }] });
  });

  it('tail prints lines for people, or as they are', async () => {
    const cwd = folder();
    const file = written(cwd);
    const people = await quickly(cwd, 'audit', 'tail', '-n', '2');
    expect(people.stdout.trimEnd().split('\n')).toHaveLength(2);
    expect(people.stdout).toContain(' allow 200 GET https://api.github.test:443/user ');
    expect(people.stdout).not.toContain('\x1b');
    const raw = await quickly(cwd, 'audit', 'tail', '--json', '-n', '1', file);
    expect(JSON.parse(raw.stdout)).toMatchObject({ request_id: 'c' });
  });
});
