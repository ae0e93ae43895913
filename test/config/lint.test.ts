import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { CODES } from '../../src/config/lint/codes.ts';
import { lint } from '../../src/config/lint/index.ts';
import { loadPolicy, parsePolicy } from '../../src/config/load.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const CREDENTIAL = 'credentials: { gh: { from: env:GH, stub: { env: GH_TOKEN } } }\n';
const INJECT = 'inject: [{ credential: gh, as: bearer }]';
const NARROW = 'methods: [GET], paths: [/user]';

const identity = (profile: string): string =>
  `identity: [{ type: jwt, issuer: "https://id.example.com", audience: a, match: any, profile: ${profile} }]\n`;
/** A credential that is exchanged for the session's own token, at a host that rule \`a\` allows, if it does. */
const exchanged = (more = '', methods = 'POST'): string =>
  `credentials: { gh: { mint: { type: token-exchange, subject: session, token_url: "https://a.example.com/token"${more} }, stub: { env: GH_TOKEN } } }\n` +
  rules(
    `name: a, hosts: [a.example.com], methods: [${methods}]`,
    `name: x, hosts: [x.example.com], ${INJECT}, ${NARROW}`,
  );

/** What `check` tells, as `code line: message; fix`. */
function told(text: string): string[] {
  const findings = lint(parsePolicy(`version: 1\n${text}`, '/stubgate.yaml'));
  return findings.map(({ code, line, message, fix }) => `${code} ${line}: ${message}; ${fix}`);
}

const rules = (...written: string[]): string =>
  `rules:\n${written.map(rule => `  - { ${rule} }\n`).join('')}`;

const ANY_RULE = rules('name: a, hosts: [a.example.com]');
const OWN_ADDRESS = 'upstream: { resolve: { own.example.com: "127.0.0.1" } }';

describe('check tells of', () => {
  const planted: [mistake: string, text: string, ...findings: string[]][] = [
    [
      'a rule below a wider one',
      rules('name: all, hosts: ["*.example.com"]', 'name: api, hosts: [api.example.com]'),
      'SG001 4: no request reaches rule api: rule all above it takes them all; move api above rule all, or take it out',
    ],
    [
      'a rule below several that cover it together',
      rules(
        'name: a, hosts: [a.example.com]',
        'name: b, hosts: [b.example.com]',
        'name: both, hosts: [a.example.com, b.example.com]',
      ),
      'SG001 5: no request reaches rule both: rules a, b above it take them all; move both above rules a, b, or take it out',
    ],
    [
      'a tunnel below a rule that reads',
      rules(
        'name: api, hosts: [a.example.com], paths: [/x]',
        'name: pinned, hosts: [a.example.com], action: tunnel',
      ),
      'SG001 4: no tunnel of rule pinned passes unread, because rule api above it must read the requests; move pinned above rule api, or take it out',
    ],
    [
      'a rule that is hidden in its only profile',
      `${rules('name: all, hosts: [a.example.com]', 'name: x, hosts: [a.example.com], paths: [/x]')}profiles: { p: { rules: [all, x] } }`,
      'SG001 4: no request reaches rule x: rule all above it takes them all; move x above rule all, or take it out',
    ],
    [
      'an exception below what it is one of',
      rules(
        'name: read, hosts: [a.example.com], methods: [GET]',
        'name: no-admin, hosts: [a.example.com], paths: ["/admin/**"], action: deny',
      ),
      'SG002 4: rule no-admin denies GET https://a.example.com/admin, but rule read above it allows it; move no-admin above read, or take out of it what is allowed',
    ],
    [
      'a whole API that can publish',
      CREDENTIAL + rules(`name: gh, hosts: [api.github.com], ${INJECT}`),
      'SG003 4: rule gh allows POST https://api.github.com/gists with a credential, which publishes a gist; write the `methods` and `paths` that are needed, no wider',
      'SG005 4: rule gh lets its credential do whatever it may at api.github.com; write the `methods` and `paths` that are needed',
    ],
    [
      'a wide glob that can publish',
      CREDENTIAL + rules(`name: gh, hosts: [api.github.com], paths: ["/repos/**"], ${INJECT}`),
      'SG003 4: rule gh allows POST https://api.github.com/repos/somebody/elsewhere/issues with a credential, which writes an issue in any repository; write the `methods` and `paths` that are needed, no wider',
    ],
    [
      'a wildcard that carries a credential',
      CREDENTIAL + rules(`name: all, hosts: ["*.example.com"], ${NARROW}, ${INJECT}`),
      'SG004 4: rule all sends a credential to every host below example.com, also to one that is added, or taken over, later; name the hosts',
    ],
    [
      'a credential that nothing injects',
      CREDENTIAL + rules('name: a, hosts: [a.example.com]'),
      'SG006 2: no rule of a profile injects credential gh; write a rule that injects it, or take it out',
    ],
    [
      'a vault that nothing reads',
      `vaults: { v: { type: file, dir: /run } }\n${rules('name: a, hosts: [a.example.com]')}`,
      'SG007 2: no credential is read from vault v; read one from it, or take it out',
    ],
    [
      'a rule in no profile, with its credential',
      `${CREDENTIAL}${rules('name: a, hosts: [a.example.com]', `name: b, hosts: [b.example.com], ${NARROW}, ${INJECT}`)}profiles: { p: { rules: [a] } }`,
      'SG006 2: no rule of a profile injects credential gh; write a rule that injects it, or take it out',
      'SG008 5: rule b stands in no profile, so it does nothing; name it in a profile, or take it out',
    ],
    [
      'a host that stands in a list twice',
      rules('name: a, hosts: [a.example.com, A.example.com.]'),
      'SG009 3: this stands in the list twice; keep one',
    ],
    [
      'a vault that is declared twice',
      `vaults:\n  v: { type: file, dir: /run }\n  w: { type: file, dir: /run }\ncredentials:\n  a: { from: "v:x", stub: { env: A } }\n  b: { from: "w:x", stub: { env: B } }\n${rules(`name: a, hosts: [a.example.com], ${NARROW}, inject: [{ credential: a, as: bearer }, { credential: b, as: header, name: x-key }]`)}`,
      'SG009 4: vault w is vault v again; read from v instead, and take this one out',
    ],
    [
      'a stub that its client refuses',
      `credentials: { tg: { from: env:TG, stub: { env: TELEGRAM_TOKEN } } }\n${rules('name: a, hosts: [a.example.com], methods: [GET], inject: [{ credential: tg, as: path, template: "/bot{credential}/**" }]')}`,
      'SG010 2: python-telegram-bot and aiogram will not take the stub of credential tg: it wants digits, a colon and more; write shape: telegram-bot',
    ],
    [
      'a credential in clear',
      CREDENTIAL +
        rules(`name: a, hosts: [a.example.com], schemes: [http], insecure: true, ${NARROW}, ${INJECT}`),
      'SG011 4: rule a sends a credential in plain http, for everybody on the way to read; leave out http, and insecure: true with it',
    ],
    [
      'an address that is never dialled',
      rules('name: a, hosts: [10.0.0.1]', 'name: b, hosts: [169.254.169.254]'),
      'SG012 3: 10.0.0.1 is never dialled: it is a private address; permit it in upstream.allow_private, or take it out',
      'SG012 4: 169.254.169.254 is never dialled: it is a metadata address; take it out',
    ],
    [
      'private ranges that hold too much',
      `${rules('name: a, hosts: [a.example.com]')}upstream: { allow_private: [0.0.0.0/0] }`,
      'SG013 4: this range holds the services of the gate’s own machine: any name that an allowed host’s owner makes resolve there leads to them; write the ranges of the upstreams alone, or upstream.resolve for single hosts',
    ],
    [
      'a credential for two owners',
      CREDENTIAL +
        rules(
          `name: a, hosts: [api.github.com], ${NARROW}, ${INJECT}`,
          `name: b, hosts: [api.example.com], ${NARROW}, ${INJECT}`,
        ),
      'SG014 5: credential gh goes to example.com here, and to github.com by rule a: each of the two owners gets what opens the other; give each owner a credential of its own',
    ],
    [
      'every host there is',
      rules('name: a, hosts: ["*"]'),
      'SG015 3: what rule a matches is allowed to every host there is; name the hosts',
    ],
    [
      'an address of a host that no rule names',
      `${rules('name: a, hosts: [a.example.com]')}upstream: { resolve: { b.example.com: "127.0.0.1" } }`,
      'SG016 4: no rule names b.example.com, so it is never dialled; write a rule for it, or take it out',
    ],
    [
      'an address of a host that neither a rule nor the gate asks',
      `alarms: { webhook: "https://hooks.example.com/a" }\n${ANY_RULE}${OWN_ADDRESS}`,
      'SG016 5: no rule names own.example.com, so it is never dialled; write a rule for it, or take it out',
    ],
    [
      'a comment that silences nothing',
      `# stubgate-ignore: SG001 no reason for this\n${rules('name: a, hosts: [a.example.com]')}`,
      'SG017 2: this comment silences nothing on its line, or on the one below; write `# stubgate-ignore: SG001 why`, on the line of the finding or above it, or take it out',
    ],
    [
      'plain http',
      rules('name: a, hosts: [a.example.com], schemes: [http]'),
      'SG018 3: what rule a lets pass over plain http can be read and changed on its way; leave out http if the host speaks https',
    ],
    [
      'no rules',
      'rules: []\n',
      'SG020 2: there are no rules, so every request is denied; see docs/checks.md',
    ],
    [
      'an open control plane',
      `listen: { admin: "0.0.0.0:8081" }\n${rules('name: a, hosts: [a.example.com]')}`,
      'SG021 2: the control plane listens on every address; write 127.0.0.1 or unix:/path, out of reach of sandboxes',
    ],
    [
      'a profile without rules',
      `${rules('name: a, hosts: [a.example.com]')}profiles: { p: { rules: [] }, q: { rules: [a] } }`,
      'SG022 4: this profile has no rules, so it denies every request; see docs/checks.md',
    ],
    [
      'a profile in another order',
      `${rules('name: a, hosts: [a.example.com]', 'name: b, hosts: [b.example.com]')}profiles: { p: { rules: [b, a] } }`,
      'SG023 5: rules are asked in the order in which they stand under `rules`; write them in that order here too',
    ],
    [
      'a session’s token that no JWT brings',
      `${identity('other')}${exchanged()}profiles: { p: { rules: [x] }, other: { rules: [a] } }`,
      'SG024 3: no `identity` of type jwt opens sessions under profile p: there, credential gh works only in those that are created with a subject token; write such an identity, or create sessions with --subject-token-file',
    ],
    [
      'a JWT that its sandbox could exchange as the gate does',
      `${identity('default')}${exchanged()}`,
      'SG025 3: rule a lets sandboxes to the token_url of credential gh, which asks for nothing but the JWT that they hold themselves; write client_id and client_secret, or an actor_token, or narrow the rule',
    ],
  ];

  it.each(planted)('%s', (_, text, ...findings) => {
    expect(told(text)).toEqual(findings);
  });

  it('every code that there is', () => {
    const codes = planted.flatMap(([, , ...findings]) => findings.map(finding => finding.slice(0, 5)));
    expect([...new Set(codes)].toSorted()).toEqual(Object.keys(CODES).toSorted());
  });
});

describe('check says nothing of', () => {
  it.each<[string, string]>([
    [
      'an exception above its rule',
      rules(
        'name: no, hosts: [a.example.com], paths: ["/admin/**"], action: deny',
        'name: a, hosts: [a.example.com]',
      ),
    ],
    [
      'a narrow rule for GitHub',
      CREDENTIAL +
        rules(`name: a, hosts: [api.github.com], methods: [GET, POST], paths: ["/repos/acme/**"], ${INJECT}`),
    ],
    [
      'one owner’s hosts',
      CREDENTIAL + rules(`name: a, hosts: [api.github.com, raw.githubusercontent.com], ${NARROW}, ${INJECT}`),
    ],
    [
      'one owner’s countries',
      CREDENTIAL + rules(`name: a, hosts: [api.acme.com, api.acme.co.uk, acme.de], ${NARROW}, ${INJECT}`),
    ],
    [
      'hosts of a network of one’s own',
      CREDENTIAL +
        rules(`name: a, hosts: [git.corp, build.internal, "git.example.com"], ${NARROW}, ${INJECT}`),
    ],
    [
      'a JWT that the issuer exchanges only for the gate',
      `${identity('default')}${exchanged(', client_id: gate, client_secret: env:S')}`,
    ],
    [
      'a JWT that no rule lets its sandbox exchange',
      `${identity('{ claim: team, values: { web: default } }')}${exchanged('', 'GET')}`,
    ],
    [
      'an address of a token endpoint',
      `credentials: { gh: { from: env:GH, mint: { type: oauth2, grant: refresh_token, client_id: a, token_url: "https://own.example.com/token" }, stub: { env: GH_TOKEN } } }\n${rules(`name: a, hosts: [a.example.com], ${NARROW}, ${INJECT}`)}${OWN_ADDRESS}`,
    ],
    [
      'an address of the STS of AWS',
      `credentials: { gh: { mint: { type: aws-sts, role_arn: "arn:aws:iam::123456789012:role/a", region: eu-west-1 }, stub: { shape: aws-session } } }\n${rules('name: a, hosts: [s3.eu-west-1.amazonaws.com], methods: [GET], paths: [/b/*], inject: [{ credential: gh, as: aws-sigv4, regions: [eu-west-1], services: [s3] }]')}upstream: { resolve: { sts.eu-west-1.amazonaws.com: "127.0.0.1" } }`,
    ],
    [
      'an address of an issuer’s keys',
      `identity: [{ type: jwt, issuer: "https://id.example.com", jwks_url: "https://own.example.com/keys", audience: a, match: any, profile: default }]\n${ANY_RULE}${OWN_ADDRESS}`,
    ],
    [
      'an address where an issuer may say that its keys are',
      `${identity('default')}${ANY_RULE}${OWN_ADDRESS}`,
    ],
    [
      'an address of a webhook',
      `alarms: { webhook: "https://own.example.com/alarm" }\n${ANY_RULE}${OWN_ADDRESS}`,
    ],
    [
      'an address when that of the webhook is a secret',
      `alarms: { webhook_env: HOOK }\n${ANY_RULE}${OWN_ADDRESS}`,
    ],
    [
      'one secret in two variables',
      `credentials:\n  a: { from: env:X, stub: { env: GH_TOKEN } }\n  b: { from: env:X, stub: { env: GITHUB_TOKEN } }\n${rules(`name: a, hosts: [a.example.com], ${NARROW}, inject: [{ credential: a, as: bearer }, { credential: b, as: bearer }]`)}`,
    ],
    [
      'a rule that is hidden in one of its profiles',
      `${rules('name: all, hosts: [a.example.com]', 'name: x, hosts: [a.example.com], paths: [/x]')}profiles: { p: { rules: [all, x] }, q: { rules: [x] } }`,
    ],
    [
      'a private range of one’s own',
      `${rules('name: a, hosts: [10.1.2.3]')}upstream: { allow_private: [10.1.0.0/16] }`,
    ],
    [
      'a path that is the credential',
      `credentials: { tg: { from: env:TG, stub: { env: TG, shape: telegram-bot } } }\n${rules('name: a, hosts: [api.telegram.org], inject: [{ credential: tg, as: path, template: "/bot{credential}/**" }]')}`,
    ],
    [
      'the addresses that it denies',
      rules('name: no, hosts: [10.0.0.1], action: deny', 'name: a, hosts: [a.example.com]'),
    ],
  ])('%s', (_, text) => {
    expect(told(text)).toEqual([]);
  });
});

describe('a comment silences', () => {
  const wide = 'name: a, hosts: ["*"]';
  it.each<[string, string, string[]]>([
    ['a finding on its line', `rules:\n  - { ${wide} } # stubgate-ignore: SG015 a crawler\n`, []],
    ['a finding below it', `rules:\n  # stubgate-ignore: SG015 a crawler\n  - { ${wide} }\n`, []],
    [
      'a finding below further comments',
      `rules:\n  # stubgate-ignore: SG015 a crawler\n  # that reads\n\n  - { ${wide} }\n`,
      [],
    ],
    [
      'several codes',
      `rules:\n  # stubgate-ignore: SG015, SG018 a crawler\n  - { ${wide}, schemes: [http] }\n`,
      [],
    ],
    [
      'no other code',
      `rules:\n  # stubgate-ignore: SG018 a crawler\n  - { ${wide} }\n`,
      ['SG017 3', 'SG015 4'],
    ],
    [
      'nothing without a reason',
      `rules:\n  # stubgate-ignore: SG015\n  - { ${wide} }\n`,
      ['SG017 3', 'SG015 4'],
    ],
    [
      'nothing without a code',
      `rules:\n  # stubgate-ignore: everything\n  - { ${wide} }\n`,
      ['SG017 3', 'SG015 4'],
    ],
    [
      'no code that does not exist',
      `rules:\n  # stubgate-ignore: SG999 why\n  - { ${wide} }\n`,
      ['SG017 3', 'SG015 4'],
    ],
    [
      'no finding further down',
      `rules:\n  # stubgate-ignore: SG015 why\n  - { name: b, hosts: [b.example.com] }\n  - { ${wide} }\n`,
      ['SG017 3', 'SG015 5'],
    ],
  ])('%s', (_, text, expected) => {
    expect(told(text).map(line => line.split(':')[0])).toEqual(expected);
  });
});

it('docs/checks.md lists every code as it is', () => {
  const docs = readFileSync(join(root, 'docs/checks.md'), 'utf8');
  const rows = [...docs.matchAll(/^\| (SG\d{3}) \| (warning|note) \| ([^|]+?) \|/gm)];
  const listed = rows.map(([, code, level, title]) => [code, { level, title }]);
  expect(listed).toEqual(Object.entries(CODES));
});

const examples = [
  'config',
  ...readdirSync(join(root, 'examples')).map(name => join('examples', name)),
].flatMap(folder =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith('stubgate.yaml'))
    .map(name => join(folder, name)),
);

it.each(examples)('finds nothing in %s', file => {
  expect(lint(loadPolicy(join(root, file)))).toEqual([]);
});
