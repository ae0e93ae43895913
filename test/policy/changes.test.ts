import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Change, compareTables } from '../../src/policy/changes.ts';
import { compileGlob } from '../../src/policy/glob.ts';
import { canonicalRuleHost, type RuleHost } from '../../src/policy/host.ts';
import { lenientReadings } from '../../src/policy/path.ts';
import { compileTable, type RuleSpec } from '../../src/policy/table.ts';
import type { Target } from '../../src/types.ts';
import { injection, outcome, request, requestOfPath, twoTables, twoTablesOfPaths } from './tables.ts';

type Written = Partial<Omit<RuleSpec, 'hosts'>> & { hosts?: string[] };

function rules(...written: Written[]): RuleSpec[] {
  return written.map(({ hosts = ['a.example'], ...of }, i) => ({
    name: `r${i}`,
    action: 'allow',
    schemes: ['https'],
    injections: [],
    insecure: false,
    allowRange: false,
    ...of,
    hosts: hosts.map(host => canonicalRuleHost(host) as RuleHost),
  }));
}

const told = (old: RuleSpec[], next: RuleSpec[]) =>
  compareTables(old, next).map(
    ({ kind, hosts, methods, paths, from, to, details }) =>
      `${kind} ${methods.join()} ${hosts.join()} ${paths?.join() ?? 'any'} ${from}→${to}${details.map(d => `: ${d}`).join('')}`,
  );

describe('a change', () => {
  it.each<[string, Written[], Written[], string[]]>([
    ['of nothing', [{}], [{}], []],
    ['of a name only', [{ name: 'a' }], [{ name: 'b' }], []],
    [
      'of order that changes nothing',
      [{ methods: ['GET'] }, { methods: ['POST'] }],
      [{ methods: ['POST'] }, { methods: ['GET'] }],
      [],
    ],
    ['that writes a rule as two', [{ paths: ['/a', '/b'] }], [{ paths: ['/a'] }, { paths: ['/b'] }], []],
    ['that a wider glob hides', [{ paths: ['/a/**'] }], [{ paths: ['/a/**'] }, { paths: ['/a/b/*'] }], []],
    ['that adds a rule', [], [{ paths: ['/a'] }], ['allows *,OPTIONS a.example /a null→r0']],
    [
      'that adds a method',
      [{ methods: ['GET'] }],
      [{ methods: ['GET', 'POST'] }],
      ['allows POST a.example any null→r0'],
    ],
    [
      'that widens a path',
      [{ paths: ['/a/*'] }],
      [{ paths: ['/a/**'] }],
      ['allows *,OPTIONS a.example /a/** null→r0'],
    ],
    [
      'that narrows a path',
      [{ paths: ['/a/**'] }],
      [{ paths: ['/a/*'] }],
      ['denies *,OPTIONS a.example /a/** r0→null'],
    ],
    [
      'that widens a host',
      [{ hosts: ['a.example'] }],
      [{ hosts: ['a.example', '*.example'] }],
      ['allows *,OPTIONS *.example any null→r0'],
    ],
    [
      'that drops an exception',
      [{ action: 'deny', paths: ['/x/**'] }, {}],
      [{}],
      ['allows *,OPTIONS a.example /x/** r0→r0'],
    ],
    [
      'that adds an exception',
      [{}],
      [{ action: 'deny', paths: ['/x/**'] }, {}],
      ['denies *,OPTIONS a.example /x/** r0→r0'],
    ],
    [
      'that makes an exception shallower',
      [{ action: 'deny', paths: ['/x/**'] }, {}],
      [{ action: 'deny', paths: ['/x/*'] }, {}],
      ['allows *,OPTIONS a.example /x/** r0→r1'],
    ],
    [
      'that moves an exception down',
      [{ action: 'deny', paths: ['/x'] }, {}],
      [{}, { action: 'deny', paths: ['/x'] }],
      ['allows *,OPTIONS a.example /x r0→r0'],
    ],
    [
      'that frees only an encoded spelling',
      [{ action: 'deny', paths: ['/x'] }, { paths: ['/%78'] }],
      [{ paths: ['/%78'] }],
      ['allows *,OPTIONS a.example /%78 r0→r0'],
    ],
    [
      'to a tunnel',
      [{ methods: ['GET'] }],
      [{ action: 'tunnel' }],
      ['tunnels *,OPTIONS,POST a.example any null→r0', 'tunnels GET a.example any r0→r0'],
    ],
    ['from a tunnel', [{ action: 'tunnel' }], [{}], ['reads *,OPTIONS a.example any r0→r0']],
    [
      'that injects',
      [{}],
      [{ injections: [injection('c')] }],
      ['loosens *,OPTIONS a.example any r0→r0: injects c as bearer (header authorization)', 'tightens'],
    ],
    [
      'that frees foreign credentials',
      [{ injections: [injection('c')] }],
      [{ injections: [{ ...injection('c'), foreign: 'pass' }] }],
      [
        'loosens *,OPTIONS a.example any r0→r0: lets a credential pass that is not the session’s stub, at header authorization',
      ],
    ],
    [
      'that requires no stub',
      [{ injections: [{ ...injection('c'), required: true }] }],
      [{ injections: [injection('c')] }],
      ['loosens *,OPTIONS a.example any r0→r0: lets requests pass without a stub at header authorization'],
    ],
    [
      'that injects without a stub',
      [{ injections: [injection('c')] }],
      [{ injections: [{ ...injection('c'), when: 'always' }] }],
      [
        'loosens *,OPTIONS a.example any r0→r0: injects c as bearer (header authorization) also where no stub stands',
      ],
    ],
    [
      'that lets a credential go in clear',
      [{ schemes: ['http'], injections: [injection('c')] }],
      [{ schemes: ['http'], injections: [injection('c')], insecure: true }],
      ['allows *,OPTIONS a.example any r0→r0'],
    ],
    [
      'of hosts that are treated alike',
      [],
      [{ hosts: ['a.example', 'b.example'] }],
      ['allows *,OPTIONS a.example,b.example any null→r0'],
    ],
  ])('%s', (_, old, next, expected) => {
    const found = told(rules(...old), rules(...next));
    if (expected.includes('tightens')) expect(found.slice(0, 1)).toEqual(expected.slice(0, 1));
    else
      expect(found.toSorted()).toEqual(
        expected.toSorted().map(line => line.replace('*,OPTIONS,POST', '*,OPTIONS')),
      );
  });
});

/** Whether one of the changes tells of a request, which had one outcome and has another. */
function isTold(changes: readonly Change[], target: Target, from: string | null, to: string | null): boolean {
  return changes.some(
    change =>
      (!change.isCertain || (change.from === from && change.to === to)) &&
      change.scheme === target.scheme &&
      change.ports.includes(target.port) &&
      change.hosts.some(
        host =>
          host === target.host ||
          host === '*' ||
          (host.startsWith('*.') && target.host.endsWith(host.slice(1))),
      ) &&
      (change.methods.includes(target.method ?? '') || change.methods.includes('*')) &&
      (change.paths?.some(glob => lenientReadings(target.path ?? '').some(compileGlobs(glob))) ?? true),
  );
}

const compileGlobs = (glob: string) => {
  const globs = lenientReadings(glob).map(compileGlob);
  return (path: string) => globs.some(covers => covers(path));
};

const RUNS = 300;

describe('no request', () => {
  it.each([
    ['of any kind', twoTables, request],
    ['in another spelling', twoTablesOfPaths, requestOfPath],
  ])('%s is newly allowed, or passes unread, without a change that tells of it', (_, tables, asked) => {
    fc.assert(
      fc.property(tables, fc.array(asked, { minLength: 20, maxLength: 40 }), ([old, next], targets) => {
        const changes = compareTables(old, next);
        const [before, after] = [compileTable(old), compileTable(next)];
        for (const target of targets) {
          const [from, to] = [outcome(before, target), outcome(after, target)];
          if (to.effect === 'deny' || from.effect === to.effect) continue;
          const wanted = to.effect === 'tunnel' ? 'tunnels' : from.effect === 'tunnel' ? 'reads' : 'allows';
          const widening = changes.filter(({ kind }) => kind === wanted);
          expect(
            isTold(widening, target, from.rule, to.rule),
            JSON.stringify([target, from, to, changes]),
          ).toBe(true);
        }
      }),
      { numRuns: RUNS },
    );
  });

  it('is newly denied, or given another credential, without a change that tells of it', () => {
    fc.assert(
      fc.property(twoTables, fc.array(request, { minLength: 20, maxLength: 40 }), ([old, next], targets) => {
        const changes = compareTables(old, next);
        const [before, after] = [compileTable(old), compileTable(next)];
        const credentials = (list: RuleSpec[], name: string | null) =>
          list.find(rule => rule.name === name)?.injections.map(({ credential }) => credential) ?? [];
        for (const target of targets) {
          const [from, to] = [outcome(before, target), outcome(after, target)];
          const isNew = credentials(next, to.rule).some(name => !credentials(old, from.rule).includes(name));
          if (from.effect !== 'deny' && to.effect === 'deny') {
            const narrowing = changes.filter(({ kind }) => kind === 'denies');
            expect(
              isTold(narrowing, target, from.rule, to.rule),
              JSON.stringify([target, from, to, changes]),
            ).toBe(true);
          } else if (to.effect === 'allow' && from.effect !== 'deny' && isNew) {
            const loosening = changes.filter(({ kind }) => kind === 'loosens');
            expect(
              isTold(loosening, target, from.rule, to.rule),
              JSON.stringify([target, from, to, changes]),
            ).toBe(true);
          }
        }
      }),
      { numRuns: RUNS },
    );
  });

  it('is missed where the rules are too many to compare', () => {
    fc.assert(
      fc.property(twoTables, fc.array(request, { minLength: 20, maxLength: 40 }), ([old, next], targets) => {
        const changes = compareTables(old, next, undefined, 0);
        const [before, after] = [compileTable(old), compileTable(next)];
        for (const target of targets) {
          const [from, to] = [outcome(before, target), outcome(after, target)];
          if (to.effect !== 'allow' || from.effect !== 'deny') continue;
          expect(
            isTold(
              changes.filter(({ kind }) => kind === 'allows'),
              target,
              from.rule,
              to.rule,
            ),
          ).toBe(true);
        }
      }),
      { numRuns: 200 },
    );
  });
});

it('tells nothing of two tables that are alike', () => {
  fc.assert(
    fc.property(twoTables, ([old]) => {
      expect(
        compareTables(
          old,
          old.map(rule => ({ ...rule, name: `${rule.name}x` })),
        ),
      ).toEqual([]);
    }),
  );
});
