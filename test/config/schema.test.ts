import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { compileConfig } from '../../src/config/compile.ts';
import { casesJsonSchema, configJsonSchema } from '../../src/config/generate.ts';
import { wordIssue } from '../../src/config/issues.ts';
import { loadConfig, parseConfig } from '../../src/config/load.ts';
import { configSchema } from '../../src/config/schema.ts';
import { define, Registry } from '../../src/registry.ts';

const at = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const example = at('config/stubgate.yaml');

describe('config/stubgate.schema.json', () => {
  const written = readFileSync(at('config/stubgate.schema.json'), 'utf8');

  it('is what `npm run schema` writes', () => {
    expect(written).toBe(configJsonSchema());
  });

  it('has one for cases beside it', () => {
    expect(readFileSync(at('config/cases.schema.json'), 'utf8')).toBe(casesJsonSchema());
  });

  it('describes every key of the gate itself', () => {
    const undescribed: string[] = [];
    const visit = (node: unknown, path: string): void => {
      if (typeof node !== 'object' || node === null) return;
      for (const [key, value] of Object.entries((node as { properties?: object }).properties ?? {})) {
        if (!Object.hasOwn(value as object, 'description')) undescribed.push(`${path}.${key}`);
      }
      for (const [key, value] of Object.entries(node)) visit(value, `${path}/${key}`);
    };
    visit(JSON.parse(written), '');
    // Keys of plug-ins are theirs to describe.
    expect(undescribed.filter(path => !path.includes('/oneOf/'))).toEqual([]);
  });
});

describe('config/stubgate.yaml', () => {
  it('loads without a problem or a warning', () => {
    const { config, profiles } = compileConfig(loadConfig(example));
    expect(config.warnings).toEqual([]);
    expect(config.listen).toEqual({
      proxy: { host: '127.0.0.1', port: 8080 },
      admin: { host: '127.0.0.1', port: 8081 },
      workers: 1,
    });
    expect(config.ca.dir).toBe(at('certs'));
    expect(config.audit.file).toBe(at('audit.jsonl'));
    expect(config.rules[0]).toMatchObject({ name: 'demo', hosts: ['demo.stubgate.test'] });
    expect(config.credentials.get('demo')).toMatchObject({
      ref: { vault: 'env', id: 'STUBGATE_DEMO_SECRET' },
      stub: { env: 'DEMO_TOKEN', shape: 'demo_{32}' },
    });
    expect(profiles.get('default')?.credentials).toEqual(['demo']);
  });

  it.each(['agent', 'fleet'])('examples/%s is valid', name => {
    const file = new URL(`../../examples/${name}/stubgate.yaml`, import.meta.url).pathname;
    expect(parseConfig(readFileSync(file, 'utf8'), file).warnings).toEqual([]);
  });

  it('holds examples that are valid too', () => {
    const commented = /^( *)# ( *(?:- name: |[a-z_\d]+: ?(?:$|[^ ]))[^]*?)$/;
    const text = readFileSync(example, 'utf8')
      .split('\n')
      .filter(line => !line.startsWith('# yaml-language-server'))
      .map(line => line.replace(commented, '$1$2'))
      .join('\n');
    const config = parseConfig(text, example);
    expect(config.warnings).toEqual([]);
    expect(config.rules.map(({ name }) => name)).toEqual([
      'demo',
      'github-api',
      'git',
      'openai',
      'search',
      'telegram',
      'token',
      'downloads',
      'pinned',
    ]);
    expect([...config.profiles.keys()]).toEqual(['default', 'build']);
    expect(config.limits).toEqual(loadConfig(example).limits);
    expect(config.upstream.allowPrivate).toHaveLength(1);
  });
});

describe('the schema grows from the registries', () => {
  const vaultTypes = new Registry<string>([
    define({
      type: 'cupboard',
      summary: 'A cupboard',
      schema: z
        .strictObject({
          shelf: z.number().min(1).max(9),
          lock: z.enum(['key', 'code']).optional(),
          code: z.string().max(4).optional(),
        })
        .refine(({ lock, code }) => lock !== 'code' || code !== undefined, {
          path: ['code'],
          message: 'is missing; a lock of that kind needs it',
        }),
      build: ({ shelf }) => `shelf ${shelf}`,
    }),
  ]);
  const schema = configSchema(vaultTypes, vaultTypes, vaultTypes);
  const told = (vault: unknown) =>
    schema
      .safeParse({ version: 1, vaults: { v: vault } }, { error: wordIssue })
      .error?.issues.map(issue => `${issue.path.slice(2).join('.')}: ${issue.message}`);

  it.each<[unknown, string[] | undefined]>([
    [{ type: 'cupboard', shelf: 3 }, undefined],
    [{ type: 'cupboard', shelf: 3, lock: 'code' }, ['code: is missing; a lock of that kind needs it']],
    [{ type: 'cupboard', shelf: 0 }, ['shelf: is too small or too short; write at least 1']],
    [{ type: 'cupboard', shelf: 10 }, ['shelf: is too large or too long; write at most 9']],
    [{ type: 'cupboard', shelf: 1, lock: 'rope' }, ['lock: is not valid; write key or code']],
    [{ type: 'cupboard', shelf: 1, code: '12345' }, ['code: is too large or too long; write at most 4']],
    [{ type: 'cupboard' }, ['shelf: is missing; write a number']],
    [{ type: 'env' }, ['type: is not known; write the kind of vault: cupboard']],
  ])('%j', (vault, messages) => {
    expect(told(vault)).toEqual(messages);
  });

  it('refuses a registry that is empty, and a plug-in without keys', () => {
    expect(() => configSchema(new Registry<string>([]), vaultTypes, vaultTypes)).toThrow(
      'no vault is registered',
    );
    const odd = new Registry<string>([
      define({ type: 'odd', summary: '', schema: z.string(), build: text => text }),
    ]);
    expect(() => configSchema(odd, vaultTypes, vaultTypes)).toThrow('the schema of odd is not an object');
  });
});
