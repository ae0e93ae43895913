import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { cleanEnv, runOk } from '../support/clients.ts';
import { tempFolder } from '../support/temp.ts';

const SRC = join(import.meta.dirname, '../../src');

/** What `stubgate start` does; prints the packages that Node has loaded when it is ready, and after a first answer. */
const SCRIPT = `
import { registerHooks } from 'node:module';
const loaded = [];
registerHooks({ load: (url, context, next) => (loaded.push(url), next(url, context)) });
const look = () => ({
  packages: [...new Set(loaded.map(url => /.*\\/node_modules\\/((@[^/]+\\/)?[^/]+)/.exec(url)?.[1]))].filter(Boolean).sort(),
  hasFetch: process.moduleLoadList.some(name => name.includes('undici')),
});
const silent = () => {};
const log = { debug: silent, info: silent, warn: silent, error: silent };
await import('${SRC}/cli/index.ts');
await import('${SRC}/cli/start.ts');
const { startGate } = await import('${SRC}/app.ts');
const { startAdmin } = await import('${SRC}/admin/server.ts');
const { writeTrustFiles } = await import('${SRC}/admin/trust.ts');
const gate = await startGate({ configFile: process.argv[1], log });
const admin = await startAdmin(gate, writeTrustFiles(gate.caFile, gate.bundleFile), log);
const ready = look();
const { request } = await import('${SRC}/http.ts');
const status = await new Promise((resolve, reject) => {
  const [host, port] = admin.address.split(':');
  request({ host, port, path: '/healthz' }, answer => resolve(answer.statusCode)).on('error', reject).end();
});
console.log(JSON.stringify({ ready, status, answered: look() }));
process.exit();
`;

it('loads, until it is ready, nothing that a default configuration has no use for', async () => {
  const dir = tempFolder('start-loads');
  const file = join(dir, 'stubgate.yaml');
  writeFileSync(
    file,
    JSON.stringify({
      version: 1,
      listen: { proxy: '127.0.0.1:0', admin: '127.0.0.1:0' },
      ca: { dir: join(dir, 'certs') },
      audit: { file: join(dir, 'audit.jsonl') },
      credentials: { demo: { from: 'env:NO_SECRET', stub: { env: 'DEMO' } } },
      rules: [{ name: 'demo', hosts: ['demo.example.test'], inject: [{ credential: 'demo', as: 'bearer' }] }],
    }),
  );
  const { stdout } = await runOk(process.execPath, ['--input-type=module', '-e', SCRIPT, file], {
    env: cleanEnv(),
  });
  const { ready, status, answered } = JSON.parse(stdout) as Record<string, unknown>;
  expect(ready).toEqual({ packages: ['commander', 'lru-cache', 'yaml', 'zod'], hasFetch: false });
  // The control plane is there all the same, and the look itself works.
  expect(status).toBe(200);
  expect(answered).toMatchObject({ hasFetch: true, packages: expect.arrayContaining(['hono']) });
});
