import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { explain } from '../../src/cli/explain.ts';
import { presetsPage } from '../../src/cli/presets/document.ts';
import { PRESETS } from '../../src/cli/presets/index.ts';
import { casesText, configText } from '../../src/cli/presets/write.ts';
import { compileConfig } from '../../src/config/compile.ts';
import { parseConfig } from '../../src/config/load.ts';
import { tempFolder } from '../support/temp.ts';
import { NAMES, preset } from './presets-context.ts';
import { quickly } from './stubgate.ts';

const compiled = (names: readonly string[]) =>
  compileConfig(parseConfig(configText(names.map(preset)), '/s.yaml'));

interface Case {
  request: string;
  expect: {
    verdict: string;
    reason?: string | null;
    rule: string | null;
    inject?: { credential: string; as: string }[];
  };
}

const casesOf = (names: readonly string[]) =>
  (parse(casesText(names.map(preset))) as { cases: Case[] }).cases;

it.each([[[]], [NAMES], ...NAMES.map(name => [[name]])])('writes a valid configuration: %j', names => {
  const { config } = compiled(names);
  expect(config.warnings.filter(({ path }) => path !== 'rules')).toEqual([]);
});

/** What a case gets. */
function got(names: readonly string[], { request }: Case): Case['expect'] {
  const [method = '', url = ''] = request.split(' ');
  const { verdict, reason, rule, inject } = explain(compiled(names), 'default', method, url);
  if (verdict === 'deny') return { verdict, reason, rule };
  return { verdict, rule, inject: inject.map(({ credential, as }) => ({ credential, as })) };
}

describe('its cases hold', () => {
  it.each(NAMES)('%s', name => {
    for (const one of casesOf([name])) expect(got([name], one), one.request).toEqual(one.expect);
  });

  it('beside all the others, too', () => {
    const { table } = compiled(NAMES).profiles.get('default') ?? {};
    expect(table?.rules.length).toBe(NAMES.map(preset).reduce((sum, { rules }) => sum + rules.length, 0));
    for (const one of casesOf(NAMES)) expect(got(NAMES, one).verdict, one.request).toBe(one.expect.verdict);
  });
});

it.each(NAMES)('%s has a case for each rule, and one that is denied', name => {
  const { rules, allows, denies } = preset(name);
  expect(Object.keys(allows)).toEqual(rules.map(rule => rule.name));
  expect(Object.values(allows).every(requests => requests.length > 0)).toBe(true);
  expect(denies.length).toBeGreaterThan(0);
});

it.each(NAMES)('%s gives no credential to a whole host', name => {
  for (const { inject, hosts, methods, paths } of preset(name).rules.filter(rule => rule.inject)) {
    expect(inject).not.toEqual([]);
    expect(hosts.filter(host => host.includes('*'))).toEqual([]);
    expect(methods.length).toBeGreaterThan(0);
    expect(paths.filter(path => path === '/**' || path === '/*')).toEqual([]);
  }
});

it('has a page that tells what is in it', () => {
  expect(readFileSync(join(import.meta.dirname, '../../docs/presets.md'), 'utf8')).toBe(presetsPage());
  expect(Object.keys(PRESETS).length).toBeGreaterThanOrEqual(25);
});

it('names no registry of packages in its sources and its page', () => {
  const names = ['npm', 'pip', 'cargo', 'rubygems', 'docker', 'pypi-upload'];
  const hosts = names.flatMap(name => preset(name).rules.flatMap(rule => rule.hosts));
  expect(hosts.filter(host => !host.endsWith('.test'))).toEqual([]);
});

it('passes "stubgate check --strict" and "stubgate test"', async context => {
  const help = (await quickly(tempFolder('presets'), '--help')).stdout;
  if (!/^ +test /m.test(help)) return context.skip('this build has no verb "test"');
  const cwd = tempFolder('presets');
  writeFileSync(join(cwd, 'stubgate.yaml'), configText(NAMES.filter(isPrivate).map(preset)));
  writeFileSync(join(cwd, 'stubgate.cases.yaml'), casesText(NAMES.filter(isPrivate).map(preset)));
  const check = await quickly(cwd, 'check', '--strict');
  expect([check.code, check.stdout]).toEqual([0, expect.stringMatching(/: valid\n$/)]);
  const test = await quickly(cwd, 'test', '--require-coverage');
  expect([test.code, test.stdout]).toEqual([0, expect.stringMatching(/cases pass/)]);
});

/** The others lead to a registry over plain http here, which is told of. */
const isPrivate = (name: string): boolean => preset(name).rules.every(({ schemes }) => schemes === undefined);
