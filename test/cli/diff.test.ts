import { describe, expect, it } from 'vitest';
import { policyFolder } from './policy.ts';
import { quickly } from './stubgate.ts';

const OLD = `version: 1
credentials:
  gh: { from: env:GH, stub: { env: GITHUB_TOKEN } }
rules:
  - { name: api, hosts: [api.example.test], methods: [GET], paths: ["/v1/*"], inject: [{ credential: gh, as: header, name: x-key }] }
profiles:
  default: { rules: [api], ttl: 30m }
`;

const diff = (next: string, ...args: string[]) =>
  quickly(policyFolder({ 'old.yaml': OLD, 'new.yaml': next }), 'diff', ...args, 'old.yaml', 'new.yaml');

describe('a change', () => {
  it.each<[string, string, number, RegExp]>([
    ['of nothing', OLD, 0, /^No difference in what is allowed, denied or injected\.\n$/],
    ['of a comment', `# x\n${OLD}`, 0, /^No difference/],
    [
      'that narrows',
      OLD.replace('/v1/*', '/v1/x'),
      0,
      /^No longer allowed, or given:\n {2}default: denies GET to https:\/\/api\.example\.test, path \/v1\/\* \(no rule; before: rule api\)\n {6}for example GET https:\/\/api\.example\.test\/v1\/\w+\n$/,
    ],
    [
      'that widens',
      OLD.replace('[GET]', '[GET, POST]'),
      1,
      /^Newly allowed, or given:\n {2}default: allows POST to https:\/\/api\.example\.test, path \/v1\/\* \(rule api; before: no rule\)\n {6}for example POST /,
    ],
    [
      'of a placement’s option',
      OLD.replace('x-key', 'x-other'),
      1,
      /default: injects gh as header, name: x-other, and lets a credential pass that is not the session’s stub, at header x-key: GET to/,
    ],
    [
      'that drops an injection',
      OLD.replace(/, inject: .*\]/, ''),
      1,
      /lets a credential pass that is not the session’s stub/,
    ],
    [
      'of the secret',
      OLD.replace('env:GH', 'env:ADMIN'),
      1,
      /credentials\.gh: is read from another place: it may be another secret/,
    ],
    [
      'of a longer life',
      OLD.replace('30m', '1h'),
      1,
      /profiles\.default\.ttl: sessions may live 3600 s, before 1800 s/,
    ],
    [
      'of a shorter life',
      OLD.replace('30m', '1m'),
      0,
      /No longer allowed, or given:\n {2}profiles\.default\.ttl/,
    ],
    [
      'that adds a profile',
      `${OLD}  more: { rules: [api] }\n`,
      1,
      /profiles\.more: this profile is new\n.*more: allows GET to/s,
    ],
    ['that drops a profile', OLD.replace('default:', 'other:'), 1, /profiles\.default: this profile is gone/],
    [
      'of private addresses',
      `${OLD}upstream: { allow_private: [10.0.0.0/8] }\n`,
      1,
      /upstream\.allow_private: further private addresses/,
    ],
    [
      'of an address',
      `${OLD}upstream: { resolve: { api.example.test: "10.0.0.1" } }\n`,
      1,
      /upstream\.resolve\.api\.example\.test: is dialled at another address/,
    ],
    [
      'of what is trusted',
      `${OLD}upstream: { ca_file: x.pem }\n`,
      1,
      /upstream\.ca_file: other upstreams are trusted/,
    ],
    [
      'of a listener',
      `${OLD}listen: { proxy: "127.0.0.1:1" }\n`,
      0,
      /^Changed otherwise:\n {2}listen: is not the same\n$/,
    ],
  ])('%s', async (_, next, code, says) => {
    const strict = await diff(next, '--no-widening');
    expect(strict.stdout).toMatch(says);
    expect(strict.code).toBe(code);
    expect((await diff(next)).code).toBe(0);
  });
});

it('is told to programs', async () => {
  const { stdout } = await diff(OLD.replace('[GET]', '[GET, POST]'), '--json');
  expect(JSON.parse(stdout)).toMatchObject({
    widens: true,
    differences: [
      {
        effect: 'widens',
        profile: 'default',
        kind: 'allows',
        methods: ['POST'],
        hosts: ['api.example.test'],
        paths: ['/v1/*'],
        from: null,
        to: 'api',
        example: expect.stringMatching(/^POST https:\/\/api\.example\.test\/v1\//) as string,
      },
    ],
  });
});

it('is told in Markdown, in which nothing that was written is markup', async () => {
  const { stdout } = await diff(OLD.replace('/v1/*', '/v1/**"  , "/`x`|<b>@all'), '--markdown');
  expect(stdout).toMatch(
    /^### ⚠️ This change widens the egress policy\n\n\*\*Newly allowed, or given\*\*\n\n\| where \| what \| for example \|\n\|---\|---\|---\|\n/,
  );
  expect(
    stdout
      .split('\n')
      .filter(line => line.startsWith('|'))
      .every(line => line.split('|').length === 5),
  ).toBe(true);
  expect(stdout).not.toMatch(/<b>|@all|`/);
});

it('exits 2 for a file that is not valid, and names it', async () => {
  const cwd = policyFolder({ 'old.yaml': 'version: 2\n', 'new.yaml': OLD });
  const { code, stderr } = await quickly(cwd, 'diff', 'old.yaml', 'new.yaml');
  expect([code, stderr]).toEqual([2, expect.stringMatching(/old\.yaml:1:10: version: /)]);
});
