import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { awsNowhere } from '../support/aws-environment.ts';
import { awsKeys } from '../support/upstreams/aws.ts';
import { demoFolder } from './gate.ts';
import { stubgate } from './stubgate.ts';

const ROLE = 'arn:aws:iam::123456789012:role/a';

it.each([
  ['a vault', { vaults: { aws: { type: 'aws-secrets-manager', region: 'eu-west-1' } } }],
  [
    'a vault that is logged in to',
    {
      vaults: {
        corp: { type: 'hashicorp-vault', address: 'https://h.test', auth: { method: 'aws', role: 'r' } },
      },
    },
  ],
  ['a mint', { mint: { type: 'aws-sts', role_arn: ROLE, region: 'eu-west-1' } }],
])(
  'the gate’s own AWS identity is not the command’s: %s',
  async (_, { vaults, mint }: { vaults?: object; mint?: object }) => {
    const cwd = demoFolder();
    const config = join(cwd, 'stubgate.yaml');
    let text = readFileSync(config, 'utf8');
    if (vaults) text += `vaults: ${JSON.stringify(vaults)}\n`;
    if (mint)
      text = text.replace('credentials:\n', `credentials:\n  keys: { mint: ${JSON.stringify(mint)} }\n`);
    writeFileSync(config, text);
    const keys = awsKeys(true);
    const env = {
      ...awsNowhere(),
      AWS_ACCESS_KEY_ID: keys.AccessKeyId,
      AWS_SECRET_ACCESS_KEY: keys.SecretAccessKey,
      AWS_SESSION_TOKEN: keys.SessionToken ?? '',
      AWS_REGION: 'eu-west-1',
      COPY: `a ${keys.SecretAccessKey}`,
    };
    const code = 'console.log(JSON.stringify(process.env))';
    const { stdout } = await stubgate({ cwd, env }, 'run', '--', process.execPath, '-e', code);
    expect(stdout).toContain('"AWS_REGION":"eu-west-1"');
    for (const value of Object.values(keys)) expect(stdout).not.toContain(value);
    expect(stdout).not.toMatch(/AWS_ACCESS_KEY_ID|AWS_SECRET_ACCESS_KEY|AWS_SESSION_TOKEN|COPY/);
  },
);
