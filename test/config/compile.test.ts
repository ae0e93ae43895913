import { describe, expect, it } from 'vitest';
import { compileConfig } from '../../src/config/compile.ts';
import { parseConfig } from '../../src/config/load.ts';
import { decide } from '../../src/policy/table.ts';
import type { CanonicalHost } from '../../src/types.ts';

const text = `
version: 1
vaults: { mounted: { type: file, dir: /run/secrets } }
credentials: { a: { from: env:A }, b: { from: mounted:b }, unused: { from: env:C } }
rules:
  - { name: no, hosts: [a.example], paths: [/no], action: deny }
  - name: a
    hosts: [a.example]
    inject: [{ credential: a, as: bearer }, { credential: b, as: header, name: x-b }]
  - { name: also-a, hosts: [b.example], inject: [{ credential: a, as: bearer }] }
`;

describe('compileConfig', () => {
  it('gives a credential its vault’s stale_for, unless it has its own', () => {
    const written = `
version: 1
vaults: { mounted: { type: file, dir: /run/secrets, stale_for: 10m } }
credentials: { a: { from: mounted:a }, b: { from: mounted:b, stale_for: 1h }, c: { from: env:C } }
`;
    const { sources, config } = compileConfig(parseConfig(written, 'x.yaml'));
    expect([...sources.values()].map(({ staleForMs }) => staleForMs)).toEqual([
      600_000,
      3_600_000,
      undefined,
    ]);
    expect(config.vaults.get('mounted')?.options).toEqual({ dir: '/run/secrets' });
  });

  it('puts every rule into `default` where no profiles are written', () => {
    const { profiles } = compileConfig(parseConfig(text, 'x.yaml'));
    expect([...profiles.keys()]).toEqual(['default']);
    expect(profiles.get('default')).toMatchObject({
      rules: ['no', 'a', 'also-a'],
      credentials: ['a', 'b'],
      ttlMs: 3_600_000,
    });
  });

  it('gives each profile its own table, in the order of the rules, and its own credentials', () => {
    const written = `${text}profiles: { one: { rules: [also-a], ttl: 5m }, two: { rules: [a, no] }, none: { rules: [] } }`;
    const { profiles } = compileConfig(parseConfig(written, 'x.yaml'));
    const decided = (profile: string, host: string, path: string): string => {
      const table = profiles.get(profile)?.table ?? expect.fail(profile);
      const target = {
        scheme: 'https',
        host: host as CanonicalHost,
        port: 443,
        method: 'GET',
        path,
      } as const;
      const decision = decide(table, target);
      return `${decision.verdict} ${decision.rule?.name ?? '-'}`;
    };
    expect(profiles.get('one')).toMatchObject({ name: 'one', credentials: ['a'], ttlMs: 300_000 });
    expect(profiles.get('two')).toMatchObject({ rules: ['no', 'a'], credentials: ['a', 'b'] });
    expect(profiles.get('none')?.credentials).toEqual([]);
    expect(decided('one', 'b.example', '/')).toBe('allow also-a');
    expect(decided('one', 'a.example', '/')).toBe('deny -');
    expect(decided('two', 'a.example', '/no')).toBe('deny no');
    expect(decided('two', 'a.example', '/yes')).toBe('allow a');
    expect(decided('none', 'a.example', '/')).toBe('deny -');
  });

  it('builds every vault, and reads none', () => {
    const { vaults, credentials } = compileConfig(parseConfig(text, 'x.yaml'));
    expect([...vaults.keys()]).toEqual(['env', 'file', 'mounted']);
    expect([...credentials.keys()]).toEqual(['a', 'b', 'unused']);
  });
});
