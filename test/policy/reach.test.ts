import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalRuleHost, type RuleHost } from '../../src/policy/host.ts';
import { reach } from '../../src/policy/reach.ts';
import { compileTable, type RuleSpec } from '../../src/policy/table.ts';
import { outcome, request, tableSpecs } from './tables.ts';

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

describe('a rule is not reached', () => {
  it.each<[string, Written[], string[]]>([
    ['below one that is the same', [{}, {}], ['1 by 0']],
    ['below a wider glob', [{ paths: ['/a/**'] }, { paths: ['/a/b/*', '/a/c'] }], ['1 by 0']],
    ['below a wider host', [{ hosts: ['*.example'] }, { hosts: ['a.example', 'b.a.example'] }], ['1 by 0']],
    [
      'below two that cover it together',
      [{ paths: ['/a', '/b'] }, { paths: ['/c'] }, { paths: ['/a', '/c'] }],
      ['2 by 0,1'],
    ],
    [
      'below methods that cover it together',
      [{ methods: ['GET'] }, { methods: ['POST'] }, { methods: ['GET', 'POST'], paths: ['/x'] }],
      ['2 by 0,1'],
    ],
    [
      'below hosts that cover it together',
      [{ hosts: ['a.example'] }, { hosts: ['b.example'] }, { hosts: ['a.example', 'b.example'] }],
      ['2 by 0,1'],
    ],
    ['below one that denies', [{ action: 'deny' }, { paths: ['/x'] }], ['1 by 0']],
    ['below a tunnel', [{ action: 'tunnel' }, { paths: ['/x'] }], ['1 by 0']],
    ['as a tunnel, below one that must read', [{ paths: ['/x'] }, { action: 'tunnel' }], ['1 by 0']],
    [
      'as an encoded spelling of what is denied only if that is certain',
      [{ action: 'deny', paths: ['/x'] }, { paths: ['/%78'] }],
      [],
    ],
    ['but by another method', [{ methods: ['GET'] }, { methods: ['GET', 'POST'] }], []],
    ['but by another port', [{}, { ports: [443, 8443] }], []],
    ['but by another scheme', [{}, { schemes: ['https', 'http'] }], []],
    ['but by a name below', [{ hosts: ['a.example'] }, { hosts: ['*.a.example'] }], []],
    ['but by the target *', [{ paths: ['/**'] }, {}], []],
    ['but by another path', [{ paths: ['/a/*'] }, { paths: ['/a/**'] }], []],
    ['but by an address', [{ hosts: ['*'] }, { hosts: ['192.0.2.1'] }], []],
  ])('%s', (_, written, expected) => {
    const { unreached } = reach(rules(...written));
    expect(unreached.map(({ rule, hiddenBy }) => `${rule} by ${hiddenBy.join()}`)).toEqual(expected);
  });

  it('unless there are too many to compare', () => {
    expect(reach(rules({}, {}), 0).unreached).toEqual([]);
  });
});

describe('a row that denies', () => {
  it.each<[string, Written[], string[]]>([
    [
      'loses a part to one above it',
      [{ methods: ['GET'] }, { action: 'deny', paths: ['/admin/**'] }],
      ['1 to 0: GET https://a.example/admin'],
    ],
    [
      'loses a host to one above it',
      [{}, { action: 'deny', hosts: ['a.example', 'b.example'], paths: ['/admin'] }],
      ['1 to 0: GET https://a.example/admin'],
    ],
    [
      'may stand below an exception',
      [{ paths: ['/admin/health'] }, { action: 'deny', paths: ['/admin/**'] }],
      [],
    ],
    ['may end a host', [{ methods: ['GET'] }, { action: 'deny' }, { hosts: ['*.example'] }], []],
    ['is an exception itself above', [{ action: 'deny', paths: ['/admin/**'] }, { methods: ['GET'] }], []],
    ['has nothing to do with other paths', [{ paths: ['/a/**'] }, { action: 'deny', paths: ['/b/**'] }], []],
  ])('%s', (_, written, expected) => {
    const { overlaps } = reach(rules(...written));
    expect(overlaps.map(({ allows, denies, example }) => `${denies} to ${allows}: ${example}`)).toEqual(
      expected,
    );
  });
});

it('calls no rule unreached that a request reaches', () => {
  fc.assert(
    fc.property(tableSpecs, fc.array(request, { minLength: 20, maxLength: 40 }), (specs, targets) => {
      const table = compileTable(specs);
      const unreached = new Set(reach(specs).unreached.map(({ rule }) => specs[rule]?.name));
      for (const target of targets) {
        const { rule, effect } = outcome(table, target);
        const isTunnel = specs.find(({ name }) => name === rule)?.action === 'tunnel' && effect === 'deny';
        if (rule !== null && !isTunnel) expect(unreached.has(rule), JSON.stringify(target)).toBe(false);
      }
    }),
    { numRuns: 400 },
  );
});
