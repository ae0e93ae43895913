import * as fc from 'fast-check';
import type { RuleHost } from '../../src/policy/host.ts';
import { canonicalPath } from '../../src/policy/path.ts';
import { admit, decide, type RuleSpec, type Table } from '../../src/policy/table.ts';
import type { CanonicalHost, Injection, Target } from '../../src/types.ts';

const HOSTS = ['a.example', 'b.example', 'x.a.example', '*.example', '*.a.example', '*', '192.0.2.1'];
const GLOBS = [
  '/**',
  '/',
  '/a',
  '/a/',
  '/a/*',
  '/a/**',
  '/a/b',
  '/*/b',
  '/a*b',
  '/a/**/b',
  '/**/b',
  '/%61',
  '/%61/**',
  '/a%2Fb',
  '/a;v/b',
  '/a//b',
];
const PIECES = [
  '/',
  'a',
  'b',
  'c',
  '%61',
  '%2F',
  '%2f',
  '%2561',
  '%25%36%31',
  ';v',
  ';',
  '//',
  '%3B',
  '%253b',
  '.',
];

export const injection = (credential: string, slot = 'header authorization'): Injection => ({
  credential,
  placement: { type: 'bearer', slot, find: () => [], inject: () => ({}) as never },
  when: 'stub',
  required: false,
  foreign: 'refuse',
});

const some = <T>(from: readonly T[], most = 3) => fc.subarray([...from], { minLength: 1, maxLength: most });

/** A rule as the schema lets it through. */
const rule: fc.Arbitrary<Omit<RuleSpec, 'name'>> = fc
  .record({
    action: fc.constantFrom('allow', 'allow', 'allow', 'deny', 'deny', 'tunnel'),
    hosts: some(HOSTS) as fc.Arbitrary<RuleHost[]>,
    schemes: fc.constantFrom(['https'], ['https'], ['http'], ['https', 'http']) as fc.Arbitrary<
      Target['scheme'][]
    >,
    ports: fc.option(some([443, 80, 8443], 2), { nil: undefined, freq: 2 }),
    methods: fc.option(some(['GET', 'POST', 'OPTIONS'], 2), { nil: undefined }),
    paths: fc.option(some(GLOBS, 2), { nil: undefined, freq: 4 }),
    credentials: fc.subarray(['one', 'two'], { maxLength: 1 }),
    insecure: fc.boolean(),
    allowRange: fc.boolean(),
  })
  .map(({ ports, methods, paths, credentials, ...rest }) => {
    const isTunnel = rest.action === 'tunnel';
    return {
      ...rest,
      ...(isTunnel && { schemes: ['https'] as const }),
      ...(ports && { ports }),
      ...(methods && !isTunnel && { methods }),
      ...(paths && !isTunnel && { paths }),
      injections: rest.action === 'allow' ? credentials.map(name => injection(name)) : [],
    };
  });

const named = (rules: readonly Omit<RuleSpec, 'name'>[], prefix: string): RuleSpec[] =>
  rules.map((of, i) => ({ ...of, name: `${prefix}${i}` }));

export const tableSpecs = fc.array(rule, { minLength: 1, maxLength: 6 }).map(rules => named(rules, 'r'));

/** Two tables, of which the second is an edit of the first, or another one. */
const edited = (one: fc.Arbitrary<Omit<RuleSpec, 'name'>>): fc.Arbitrary<[RuleSpec[], RuleSpec[]]> =>
  fc
    .tuple(
      fc.array(one, { maxLength: 5 }),
      fc.array(one, { maxLength: 2 }),
      fc.array(fc.nat(6), { maxLength: 3 }),
      fc.nat(6),
    )
    .map(([old, added, dropped, at]) => {
      const next = old.filter((_, i) => !dropped.includes(i));
      next.splice(at, 0, ...added);
      return [named(old, 'o'), named(next, 'n')];
    });

export const twoTables = edited(rule);

/** The same of one host, where paths alone decide. */
export const twoTablesOfPaths = edited(
  fc.record({ action: fc.constantFrom('allow', 'deny'), paths: some(GLOBS, 2) }).map(({ action, paths }) => ({
    action,
    paths,
    hosts: ['a.example' as CanonicalHost],
    schemes: ['https'],
    injections: [],
    insecure: false,
    allowRange: false,
  })),
);

/** A request that reaches the policy: its path is canonical. */
export const request: fc.Arbitrary<Target> = fc
  .record({
    scheme: fc.constantFrom('https', 'http'),
    host: fc.constantFrom(
      'a.example',
      'b.example',
      'x.a.example',
      'y.a.example',
      'c.example',
      'other',
      '192.0.2.1',
    ),
    port: fc.constantFrom(443, 80, 8443, 9),
    method: fc.constantFrom('GET', 'POST', 'OPTIONS', 'PUT'),
    pieces: fc.array(fc.constantFrom(...PIECES), { maxLength: 6 }),
    star: fc.nat(20),
  })
  .map(({ pieces, star, ...rest }): Target => {
    const path = `/${pieces.join('')}`;
    return {
      ...rest,
      host: rest.host as CanonicalHost,
      path: star === 0 && rest.method === 'OPTIONS' ? '*' : (canonicalPath(path)?.path ?? '/a'),
    };
  });

/** What becomes of a request: the gate is asked at CONNECT first. */
export function outcome(
  table: Table,
  target: Target,
): { effect: 'allow' | 'deny' | 'tunnel'; rule: string | null } {
  const { scheme, host, port } = target;
  const admission = scheme === 'https' ? admit(table, { scheme, host, port }) : undefined;
  if (admission?.verdict === 'tunnel') return { effect: 'tunnel', rule: admission.rule.name };
  const decision = decide(table, target);
  return { effect: decision.verdict, rule: decision.rule?.name ?? null };
}

/** A path in one of the spellings that the globs above are about. */
export const requestOfPath: fc.Arbitrary<Target> = fc
  .array(fc.constantFrom('/a', '/%61', '/%2561', '/b', '/c', ';v', '/', '%2Fb', '/a%2Fb'), {
    minLength: 1,
    maxLength: 4,
  })
  .map(pieces => ({
    scheme: 'https',
    host: 'a.example' as CanonicalHost,
    port: 443,
    method: 'GET',
    path: canonicalPath(pieces.join(''))?.path ?? '/%61',
  }));
