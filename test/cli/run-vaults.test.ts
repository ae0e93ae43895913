import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { tempFolder } from '../support/temp.ts';
import { demoFolder } from './gate.ts';
import { stubgate } from './stubgate.ts';

const TOKEN = 'token-of-the-vault-itself';

it('a vault’s own variables reach the vault, and not the command', async () => {
  const cwd = demoFolder();
  const config = join(cwd, 'stubgate.yaml');
  const script = join(tempFolder('exec'), 'print');
  const log = `${script}.log`;
  writeFileSync(script, `#!/bin/sh\nenv > ${log}\necho "secret-$1-$T_EXEC"\n`);
  chmodSync(script, 0o700);
  const vaults = {
    p: { type: 'exec', command: [script, '{id}'], env: ['T_EXEC'] },
    h: {
      type: 'hashicorp-vault',
      address: 'https://h.test',
      auth: { method: 'token', token_env: 'T_VAULT' },
    },
    o: { type: 'onepassword-connect', address: 'https://o.test', token_env: 'T_CONNECT' },
  };
  const text = readFileSync(config, 'utf8').replace('env:STUBGATE_DEMO_SECRET', 'p:api');
  writeFileSync(config, `${text}vaults: ${JSON.stringify(vaults)}\n`);
  const env = { T_EXEC: `${TOKEN}-1`, T_VAULT: `${TOKEN}-2`, T_CONNECT: `${TOKEN}-3`, COPY: `a ${TOKEN}-2` };
  const code = `console.log(JSON.stringify(process.env)); fetch('https://demo.stubgate.test/x', { headers: {
    authorization: 'Bearer ' + process.env.DEMO_TOKEN } }).then(r => r.text()).then(t => console.log(t))`;
  const { stdout, stderr } = await stubgate(
    { cwd, env: { ...env, KEPT: 'yes' } },
    'run',
    '--',
    process.execPath,
    '-e',
    code,
  );
  expect(stderr).toContain(
    '1 requests allowed, 0 denied; secrets injected 1 times, removed from answers 1 times',
  );
  expect(stdout).toContain('"KEPT":"yes"');
  expect(stdout).toContain('Bearer demo_');
  expect(stdout).not.toContain(TOKEN);
  expect(stdout).not.toMatch(/T_EXEC|T_VAULT|T_CONNECT|COPY/);
  const given = readFileSync(log, 'utf8');
  expect(given).toContain(`T_EXEC=${TOKEN}-1`);
  expect(given).not.toMatch(/T_VAULT|T_CONNECT|COPY|KEPT/);
});
