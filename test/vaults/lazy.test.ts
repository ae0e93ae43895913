import { join } from 'node:path';
import { expect, it } from 'vitest';
import { cleanEnv, runOk } from '../support/clients.ts';

const SRC = join(import.meta.dirname, '../../src');

/** Packages below node_modules that a script loads. */
async function loadedBy(script: string): Promise<string[]> {
  const code = `
    import { registerHooks } from 'node:module';
    const loaded = new Set();
    registerHooks({
      load(url, context, next) {
        loaded.add(/node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(url)?.[1]);
        return next(url, context);
      },
    });
    ${script}
    console.log(JSON.stringify([...loaded].filter(Boolean)));
  `;
  const { stdout } = await runOk(process.execPath, ['--input-type=module', '-e', code], { env: cleanEnv() });
  return JSON.parse(stdout) as string[];
}

const OF_A_CLOUD = /azure|google|grpc|gaxios|protobuf/;
const BUILD = `
  const { vaultTypes } = await import('${SRC}/vaults/index.ts');
  const { minters } = await import('${SRC}/mint/index.ts');
  const azure = vaultTypes.build('azure-key-vault', { vault_url: 'https://127.0.0.1:1' });
  vaultTypes.build('gcp-secret-manager', { endpoint: 'http://127.0.0.1:1', credentials_file: '/dev/null' });
  vaultTypes.build('gcp-identity', {});
`;

it('loads no SDK of a cloud before a secret is read from it', async () => {
  const program = await loadedBy(`await import('${SRC}/cli/start.ts'); await import('${SRC}/cli/run.ts');`);
  expect(program).toContain('zod');
  expect(program.filter(name => OF_A_CLOUD.test(name))).toEqual([]);
  expect((await loadedBy(BUILD)).filter(name => OF_A_CLOUD.test(name))).toEqual([]);
});

it('loads that SDK alone, once one is', async () => {
  const loaded = await loadedBy(`${BUILD}
    process.env.AZURE_POD_IDENTITY_AUTHORITY_HOST = 'http://127.0.0.1:1';
    await azure.read({ vault: 'kv', id: 'api' }, AbortSignal.timeout(5000)).catch(() => {});
  `);
  expect(loaded).toContain('@azure/identity');
  expect(loaded.filter(name => /google|grpc/.test(name))).toEqual([]);
});
