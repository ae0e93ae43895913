import { describe, expect, it } from 'vitest';
import { json } from '../../src/capture/json.ts';
import { canonicalHost, canonicalRuleHost } from '../../src/policy/host.ts';
import { admit, compileTable, decide, type RuleSpec, type Table } from '../../src/policy/table.ts';
import type { CanonicalHost, Injection, Target } from '../../src/types.ts';

type Written = Partial<Omit<RuleSpec, 'hosts' | 'name'>> & { name: string; hosts?: string[] };

const injection: Injection = {
  credential: 'c',
  placement: { type: 'bearer', slot: 'header authorization', find: () => [], inject: () => ({}) as never },
  when: 'stub',
  required: false,
  foreign: 'refuse',
};

function table(...rules: Written[]): Table {
  return compileTable(
    rules.map(({ hosts = ['a.example'], ...rule }) => ({
      action: 'allow',
      schemes: ['https'],
      injections: [],
      insecure: false,
      allowRange: false,
      ...rule,
      hosts: hosts.map(host => canonicalRuleHost(host) ?? expect.fail(host)),
    })),
  );
}

/** `[http:][method ]host[:port][/path]`; without a method it is the partial question of a CONNECT. */
function target(text: string): Target {
  const [, http, method, host = '', port, path] =
    /^(http:)?(?:([A-Z]+) )?(\[.*?\]|[^:/]+)(?::(\d+))?(\/.*)?$/.exec(text) ?? expect.fail(text);
  return {
    scheme: http ? 'http' : 'https',
    host: canonicalHost(host) ?? expect.fail(host),
    port: port ? Number(port) : http ? 80 : 443,
    ...(method !== undefined && { method, path: path ?? '/' }),
  };
}

function decided(rules: Table, question: string): string {
  const decision = decide(rules, target(question));
  const name = decision.rule?.name ?? '-';
  return decision.verdict === 'allow' ? `allow ${name}` : `deny ${name} ${decision.reason}`;
}

function admitted(rules: Table, question: string): string {
  const admission = admit(rules, target(question));
  if (admission.verdict === 'intercept') return 'intercept';
  if (admission.verdict === 'tunnel') return `tunnel ${admission.rule.name}`;
  return `deny ${admission.rule?.name ?? '-'} ${admission.reason}`;
}

const NO_RULE = 'deny - no_rule';

describe('decide', () => {
  it.each<[string, Written[], string, string]>([
    ['denies everything with an empty table', [], 'GET a.example', NO_RULE],
    ['allows the host of a rule', [{ name: 'r' }], 'GET a.example/x', 'allow r'],
    ['denies another host', [{ name: 'r' }], 'GET b.example', NO_RULE],
    ['denies a host below', [{ name: 'r' }], 'GET x.a.example', NO_RULE],
    ['denies a host that ends alike', [{ name: 'r' }], 'GET xa.example', NO_RULE],
    ['denies a host that begins alike', [{ name: 'r' }], 'GET a.example.evil.example', NO_RULE],
    [
      'compares hosts in one form',
      [{ name: 'r', hosts: ['BÜCHER.example.'] }],
      'GET XN--bcher-kva.Example.',
      'allow r',
    ],

    ['allows below a wildcard', [{ name: 'r', hosts: ['*.example'] }], 'GET a.example', 'allow r'],
    [
      'allows deep below a wildcard',
      [{ name: 'r', hosts: ['*.b.example'] }],
      'GET x.y.z.b.example',
      'allow r',
    ],
    ['denies the apex of a wildcard', [{ name: 'r', hosts: ['*.b.example'] }], 'GET b.example', NO_RULE],
    [
      'denies a glob for a missing subdomain',
      [{ name: 'r', hosts: ['*.b.example'] }],
      'GET xb.example',
      NO_RULE,
    ],
    ['allows any name with a bare wildcard', [{ name: 'r', hosts: ['*'] }], 'GET a', 'allow r'],
    ['denies an IPv4 address with a bare wildcard', [{ name: 'r', hosts: ['*'] }], 'GET 192.0.2.1', NO_RULE],
    [
      'denies an IPv6 address with a bare wildcard',
      [{ name: 'r', hosts: ['*'] }],
      'GET [2001:db8::1]',
      NO_RULE,
    ],
    ['allows a written address', [{ name: 'r', hosts: ['192.0.2.1', '::1'] }], 'GET [0::1]', 'allow r'],
    [
      'denies an address by its mapped form',
      [{ name: 'r', hosts: ['127.0.0.1'] }],
      'GET [::ffff:127.0.0.1]',
      NO_RULE,
    ],

    ['denies another port than 443', [{ name: 'r' }], 'GET a.example:8443', NO_RULE],
    ['allows the ports of a rule', [{ name: 'r', ports: [8443, 9443] }], 'GET a.example:9443', 'allow r'],
    ['denies 443 if other ports are named', [{ name: 'r', ports: [8443] }], 'GET a.example', NO_RULE],
    ['denies http unless asked for', [{ name: 'r', ports: [80, 443] }], 'http:GET a.example', NO_RULE],
    ['allows http on 80', [{ name: 'r', schemes: ['http'] }], 'http:GET a.example', 'allow r'],
    ['denies http on 443', [{ name: 'r', schemes: ['http', 'https'] }], 'http:GET a.example:443', NO_RULE],
    ['denies https on 80', [{ name: 'r', schemes: ['http', 'https'] }], 'GET a.example:80', NO_RULE],
    ['denies https where only http is named', [{ name: 'r', schemes: ['http'] }], 'GET a.example', NO_RULE],

    ['allows a named method', [{ name: 'r', methods: ['GET', 'HEAD'] }], 'HEAD a.example', 'allow r'],
    ['denies a method that is not named', [{ name: 'r', methods: ['GET'] }], 'POST a.example', NO_RULE],
    ['allows a named path', [{ name: 'r', paths: ['/x', '/y/**'] }], 'GET a.example/y/z', 'allow r'],
    ['denies a path that is not named', [{ name: 'r', paths: ['/x'] }], 'GET a.example/X', NO_RULE],
    [
      'denies another spelling of an allowed path',
      [{ name: 'r', paths: ['/admin'] }],
      'GET a.example/%61dmin',
      NO_RULE,
    ],
    ['keeps an encoded slash apart', [{ name: 'r', paths: ['/a/b'] }], 'GET a.example/a%2Fb', NO_RULE],

    [
      'takes the first rule that matches',
      [{ name: 'r' }, { name: 's', action: 'deny' }],
      'GET a.example',
      'allow r',
    ],
    [
      'goes on to the next rule',
      [
        { name: 'r', paths: ['/x'] },
        { name: 's', methods: ['GET'] },
      ],
      'GET a.example/y',
      'allow s',
    ],
    [
      'denies by a rule',
      [{ name: 'r', action: 'deny' }, { name: 's' }],
      'GET a.example',
      'deny r rule_denies',
    ],
    [
      'takes a wildcard before an exact host if it stands before it',
      [{ name: 'r', hosts: ['*'], action: 'deny' }, { name: 's' }],
      'GET a.example',
      'deny r rule_denies',
    ],
    [
      'takes an exact host before a wildcard if it stands before it',
      [{ name: 'r' }, { name: 's', hosts: ['*.example', '*'], action: 'deny' }],
      'GET a.example',
      'allow r',
    ],
    [
      'keeps the order over all kinds of hosts',
      [
        { name: 'r', hosts: ['*.example'], paths: ['/r'] },
        { name: 's', paths: ['/s'] },
        { name: 't', hosts: ['*'], paths: ['/t'] },
        { name: 'u', hosts: ['a.example', '*.example'], action: 'deny' },
        { name: 'v', hosts: ['*'] },
      ],
      'GET a.example/x',
      'deny u rule_denies',
    ],
    [
      'denies a request in what should be a tunnel',
      [{ name: 'r', action: 'tunnel' }],
      'GET a.example',
      'deny r rule_denies',
    ],
    [
      'denies an injection over http',
      [{ name: 'r', schemes: ['http'], injections: [injection] }],
      'http:GET a.example',
      'deny r rule_denies',
    ],
    [
      'denies a capture over http',
      [
        {
          name: 'r',
          schemes: ['http'],
          captures: [{ credential: 'c', place: json.build({ pointer: '/t' }) }],
        },
      ],
      'http:GET a.example',
      'deny r rule_denies',
    ],
    [
      'allows an injection over http if that is declared insecure',
      [{ name: 'r', schemes: ['http'], injections: [injection], insecure: true }],
      'http:GET a.example',
      'allow r',
    ],
  ])('%s', (_, rules, question, answer) => {
    expect(decided(table(...rules), question)).toBe(answer);
  });

  it.each([
    ['/admin', '/admin'],
    ['/admin', '/%61dmin'],
    ['/admin', '/%2561dmin'],
    ['/admin', '/admin/'],
    ['/admin', '/admin;v=1'],
    ['/admin', '/admin/;v=1'],
    ['/admin/', '/admin/;v=1'],
    ['/x/admin', '/x//admin'],
    ['/x/admin', '/x%2Fadmin'],
    ['/x/admin', '/x;y/%61dmin//'],
    ['/x/*/admin/**', '/x/1//admin%2Fa'],
    ['/caf%C3%A9', '/caf%c3%a9'],
    ['/caf%C3%A9', '/caf%25c3%25a9'],
    ['/%61dmin', '/admin'],
  ])('a row that denies %s also denies %s', (glob, path) => {
    const rules = table({ name: 'r', action: 'deny', paths: [glob] }, { name: 's' });
    expect(decided(rules, `GET a.example${path}`)).toBe('deny r rule_denies');
  });

  it.each(['/administration', '/x/admin', '/ADMIN', '/%2525admin', '/'])(
    'a row that denies /admin lets %s by',
    path => {
      const rules = table({ name: 'r', action: 'deny', paths: ['/admin'] }, { name: 's' });
      expect(decided(rules, `GET a.example${path}`)).toBe('allow s');
    },
  );

  it('denies a question without method or path', () => {
    expect(decided(table({ name: 'r' }), 'a.example')).toBe(NO_RULE);
  });
});

describe('admit', () => {
  it.each<[string, Written[], string, string]>([
    ['denies everything with an empty table', [], 'a.example', NO_RULE],
    ['denies a host that no rule names', [{ name: 'r' }], 'b.example', NO_RULE],
    ['denies a port that no rule names', [{ name: 'r' }], 'a.example:22', NO_RULE],
    ['denies a host that is only for http', [{ name: 'r', schemes: ['http'] }], 'a.example:80', NO_RULE],
    ['intercepts for an allow row', [{ name: 'r' }], 'a.example', 'intercept'],
    ['intercepts for an allow row with a path', [{ name: 'r', paths: ['/x'] }], 'a.example', 'intercept'],
    ['denies by a row', [{ name: 'r', action: 'deny' }], 'a.example', 'deny r rule_denies'],
    [
      'does not deny yet by a row with a path',
      [{ name: 'r', action: 'deny', paths: ['/x'] }, { name: 's' }],
      'a.example',
      'intercept',
    ],
    [
      'does not deny yet by a row with a method',
      [{ name: 'r', action: 'deny', methods: ['PUT'] }],
      'a.example',
      'intercept',
    ],
    ['tunnels', [{ name: 'r', action: 'tunnel' }], 'a.example', 'tunnel r'],
    [
      'does not tunnel what a row before it allows',
      [
        { name: 'r', paths: ['/x'] },
        { name: 's', action: 'tunnel' },
      ],
      'a.example',
      'intercept',
    ],
    [
      'does not tunnel what a row before it may deny',
      [
        { name: 'r', action: 'deny', paths: ['/x'] },
        { name: 's', action: 'tunnel' },
      ],
      'a.example',
      'intercept',
    ],
    [
      'does not tunnel what a row before it denies',
      [
        { name: 'r', action: 'deny' },
        { name: 's', action: 'tunnel' },
      ],
      'a.example',
      'deny r rule_denies',
    ],
    [
      'tunnels what a row after it denies',
      [
        { name: 'r', action: 'tunnel' },
        { name: 's', action: 'deny' },
      ],
      'a.example',
      'tunnel r',
    ],
    [
      'passes over a row for another port',
      [{ name: 'r', ports: [8443], action: 'deny' }, { name: 's' }],
      'a.example',
      'intercept',
    ],
    [
      'does not tunnel an address for a bare wildcard',
      [{ name: 'r', hosts: ['*'], action: 'tunnel' }],
      '192.0.2.1',
      NO_RULE,
    ],
  ])('%s', (_, rules, question, answer) => {
    expect(admitted(table(...rules), question)).toBe(answer);
  });
});

describe('a row', () => {
  const [row] = table({ name: 'r', hosts: ['*.example'], methods: ['GET'], paths: ['/x'] }).rules;

  it.each([
    ['GET a.example/x', undefined],
    ['GET example/x', 'host'],
    ['http:GET a.example/x', 'scheme'],
    ['GET a.example:1/x', 'port'],
    ['PUT a.example/x', 'method'],
    ['GET a.example/y', 'path'],
    ['a.example', 'method'],
  ])('tells of %s what keeps it from matching: %s', (question, mismatch) => {
    expect(row?.mismatch(target(question))).toBe(mismatch);
    expect(row?.matches(target(question))).toBe(mismatch === undefined);
  });
});

describe('a table', () => {
  it('judges by look-up what its rows say one by one', () => {
    const hosts = ['a.example', 'b.example', 'x.a.example', '*.example', '*.a.example', '*', '192.0.2.1'];
    const rules = table(
      ...Array.from({ length: 60 }, (_, i): Written => {
        const chosen = hosts.filter((__, j) => (i * 7 + j * j) % 5 === 0);
        return { name: `r${i}`, hosts: chosen, action: i % 3 === 0 ? 'deny' : 'allow', paths: [`/${i % 8}`] };
      }).filter(({ hosts: named }) => (named?.length ?? 0) > 0),
    );
    for (const host of [
      'a.example',
      'b.example',
      'x.a.example',
      'y.x.a.example',
      'example',
      'z.test',
      '192.0.2.1',
    ]) {
      for (let i = 0; i < 10; i++) {
        const question = target(`GET ${host}/${i}`);
        const first = rules.rules.find(rule => rule.matches(question));
        expect(decide(rules, question).rule).toBe(first);
      }
    }
  });

  it('asks only the rows that name the host, however many others there are', () => {
    const rules = table(
      ...Array.from({ length: 10_000 }, (_, i) => ({ name: `r${i}`, hosts: [`h${i}.example`] })),
    );
    expect(rules.rowsFor('h9999.example' as CanonicalHost)).toHaveLength(1);
    expect(decided(rules, 'GET h9999.example')).toBe('allow r9999');
    expect(decided(rules, 'GET h10000.example')).toBe(NO_RULE);
  });
});
