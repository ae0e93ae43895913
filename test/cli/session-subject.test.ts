import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { canary, leaks } from '../support/canary.ts';
import { tempFolder } from '../support/temp.ts';
import { idToken } from '../support/upstreams/secret-manager.ts';
import { started } from './gate.ts';
import { environment, MAIN, quickly } from './stubgate.ts';

function folder(): string {
  const cwd = tempFolder('subject');
  writeFileSync(
    join(cwd, 'stubgate.yaml'),
    `version: 1
listen: { proxy: 127.0.0.1:0, admin: "unix:./admin.sock" }
credentials:
  orders:
    mint: { type: token-exchange, token_url: https://sts.corp.test/token, subject: session }
    stub: { env: ORDERS_TOKEN }
rules:
  - name: orders
    hosts: [api.corp.test]
    inject: [{ credential: orders, as: bearer }]
`,
  );
  return cwd;
}

async function withStdin(
  cwd: string,
  text: string,
  ...args: string[]
): Promise<{ code: number; told: string }> {
  const child = spawn(process.execPath, [MAIN, ...args], { cwd, env: environment({ cwd }) });
  let told = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (more: string) => (told += more));
  child.stdin.end(text);
  const [code] = (await once(child, 'close')) as [number];
  return { code, told };
}

test('session create takes a subject token from a file or stdin, and never tells it', async () => {
  const cwd = folder();
  const gate = await started({ cwd });
  const exp = Math.floor(Date.now() / 1000);
  const [good, old] = [300, -300].map(life => idToken({ exp: exp + life, jti: canary() })) as [
    string,
    string,
  ];
  writeFileSync(join(cwd, 'good'), `${good}\n`);
  writeFileSync(join(cwd, 'old'), old);
  const create = ['session', 'create', '--subject-token-file'];

  const made = await quickly(cwd, ...create, 'good');
  expect([made.code, JSON.parse(made.stdout)]).toMatchObject([
    0,
    { id: expect.stringMatching(/^s_/) as string },
  ]);
  const piped = await withStdin(cwd, `${good}\n`, ...create, '-');
  expect(piped.code).toBe(0);
  const refused = [await quickly(cwd, ...create, 'old'), await quickly(cwd, ...create, 'nowhere')];
  const late = await withStdin(cwd, old, ...create, '-');
  expect([...refused.map(({ code }) => code), late.code]).toEqual([1, 1, 1]);
  expect(refused[0]?.stderr).toContain('subject_token has expired');
  expect(late.told).toContain('subject_token has expired');
  expect(refused[1]?.stderr).toContain('the subject token cannot be read from nowhere: ENOENT');

  const listed = await quickly(cwd, 'session', 'list', '--json');
  const all = [made, ...refused, listed].flatMap(({ stdout, stderr }) => [stdout, stderr]);
  for (const text of [...all, piped.told, late.told, gate.stderr()])
    for (const token of [good, old]) expect(leaks(text, token)).toEqual([]);
});
