import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { awsNowhere } from '../support/aws-environment.ts';
import { cleanEnv, runOk } from '../support/clients.ts';
import { tempFolder } from '../support/temp.ts';

const APP = new URL('../../src/app.ts', import.meta.url).href;
const VAULTS = new URL('../../src/vaults/index.ts', import.meta.url).href;
const ROLE = 'arn:aws:iam::123456789012:role/a';

/** Every file that Node loads, as module or by require, before and after a vault is read. */
const SCRIPT = `
import { registerHooks } from 'node:module';
const loaded = [];
registerHooks({ load: (url, context, next) => (loaded.push(url), next(url, context)) });
const packages = () => [...new Set(loaded.map(url => /.*\\/node_modules\\/((@[^/]+\\/)?[^/]+)/.exec(url)?.[1]))].filter(Boolean).sort();
const silent = () => {};
const { startGate } = await import(${JSON.stringify(APP)});
const log = { debug: silent, info: silent, warn: silent, error: silent };
const gate = await startGate({ configFile: process.argv[1], log });
const started = packages();
await gate.stop();
const { vaultTypes } = await import(${JSON.stringify(VAULTS)});
const aws = vaultTypes.build('aws-secrets-manager', { region: 'eu-west-1', endpoint: 'http://127.0.0.1:1' });
await aws.read({ vault: 'aws', id: 'x' }, AbortSignal.timeout(10000)).catch(() => {});
console.log(JSON.stringify({ started, read: packages() }));
process.exit();
`;

const CLOUD = /^@aws-sdk\/|^@smithy\/|^@azure\/|^@google-cloud\/|^google-|^gaxios|^ioredis|^jose/;

it.each([
  ['no cloud vault', {}],
  [
    'cloud vaults that nothing was read from yet',
    {
      vaults: {
        aws: { type: 'aws-secrets-manager', region: 'eu-west-1', role_arn: ROLE },
        corp: {
          type: 'hashicorp-vault',
          address: 'https://vault.corp.test',
          auth: { method: 'aws', role: 'r' },
        },
      },
      credentials: {
        a: { from: 'aws:a' },
        keys: { mint: { type: 'aws-sts', role_arn: ROLE, region: 'eu-west-1' } },
      },
    },
  ],
])('a gate with %s starts without any SDK of a cloud', async (_, more) => {
  const dir = tempFolder('sdks');
  const config = join(dir, 'stubgate.yaml');
  const listen = { proxy: '127.0.0.1:0', admin: '127.0.0.1:0' };
  const files = { ca: { dir: join(dir, 'certs') }, audit: { file: join(dir, 'audit.jsonl') } };
  writeFileSync(config, JSON.stringify({ version: 1, listen, ...files, ...more }));
  const { stdout } = await runOk(process.execPath, ['--input-type=module', '-e', SCRIPT, config], {
    env: cleanEnv(awsNowhere()),
  });
  const { started, read } = JSON.parse(stdout) as Record<'started' | 'read', string[]>;
  expect(started).toContain('zod');
  expect(started.filter(name => CLOUD.test(name))).toEqual([]);
  // The look itself works.
  expect(read).toContain('@aws-sdk/client-secrets-manager');
});
