import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { cleanEnv, runOk } from './support/clients.ts';
import { tempFolder } from './support/temp.ts';

const ROOT = join(import.meta.dirname, '..');

/** Code of docs/extending.md by the file that its first line names. */
function codeBlocks(): Map<string, string> {
  const page = readFileSync(join(ROOT, 'docs/extending.md'), 'utf8');
  const blocks = [...page.matchAll(/^```ts\n\/\/ (\S+)\n([^]*?)^```$/gm)];
  return new Map(blocks.map(([, file = '', code = '']) => [file, code]));
}

/** A registry with the import and the entry that the page adds. */
function registered(text: string, lines: string): string {
  const [added = '', entry = ''] = lines.trim().split('\n');
  const name = /…, (\w+)\]/.exec(entry)?.[1];
  expect(name).toBeDefined();
  return `${added}\n${text.replace(/,?\s*\]\);/, `, ${name}]);`)}`;
}

const USE = `
import { vaultTypes } from './src/vaults/index.ts';
import { placements } from './src/inject/index.ts';
const vault = vaultTypes.build('systemd-creds', { dir: import.meta.dirname + '/creds' });
const secret = await vault.read({ vault: 'v', id: 'api' }, AbortSignal.timeout(5000));
const placement = placements.build('token-parameter', {});
const out = { method: 'GET', target: '/', headers: ['Authorization', 'Token token="a-stub"'], body: undefined };
const found = placement.find(out);
placement.inject(out, 'a-stub', secret);
console.log(JSON.stringify([found, out.headers.map(value => typeof value === 'string' ? value : value.reveal())]));
`;

test('a vault and a placement are added as docs/extending.md says', async () => {
  const copy = tempFolder('extending');
  for (const name of ['src', 'package.json', 'tsconfig.json'])
    cpSync(join(ROOT, name), join(copy, name), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  const blocks = codeBlocks();
  expect(blocks.size).toBe(4);
  for (const [file, code] of blocks) {
    const path = join(copy, file);
    writeFileSync(path, file.endsWith('/index.ts') ? registered(readFileSync(path, 'utf8'), code) : code);
  }
  mkdirSync(join(copy, 'creds'));
  writeFileSync(join(copy, 'creds/api'), 'a-secret-of-this-test\n');
  writeFileSync(join(copy, 'use.ts'), USE);
  writeFileSync(
    join(copy, 'stubgate.yaml'),
    `version: 1
vaults: { unit: { type: systemd-creds, dir: ./creds } }
credentials: { api: { from: "unit:api", stub: { env: API_KEY } } }
rules: [{ name: api, hosts: [api.example.com], inject: [{ credential: api, as: token-parameter }] }]
`,
  );
  const run = (...args: string[]) => runOk(process.execPath, args, { env: cleanEnv(), cwd: copy });
  const [used, checked, explained] = await Promise.all([
    run('use.ts'),
    run('src/main.ts', 'check', 'stubgate.yaml'),
    run('src/main.ts', 'explain', 'GET', 'https://api.example.com/', '--config', 'stubgate.yaml'),
    run('node_modules/typescript/bin/tsc', '--noEmit', '-p', '.'),
  ]);
  expect(JSON.parse(used.stdout)).toEqual([
    ['a-stub'],
    ['Authorization', 'Token token=a-secret-of-this-test'],
  ]);
  expect(checked.stdout).toMatch(/valid\n$/);
  expect(explained.stdout).toContain('header authorization');
});
