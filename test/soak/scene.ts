import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startVault, type VaultServer } from '../support/upstreams/vault.ts';
import { testCa } from '../support/pki.ts';
import { hasRedis, startRedis, type TestRedis } from '../support/redis.ts';
import { tempFolder } from '../support/temp.ts';
import { writeSecret } from './faults.ts';
import { GateProcess, type LogLine } from './gate.ts';
import { Secrets } from './secrets.ts';
import { H1_HOST, H2_HOST, Upstreams } from './upstream.ts';
import type { Findings } from './windows.ts';

/** Everything that runs beside the load. */
export interface Scene {
  readonly dir: string;
  readonly gate: GateProcess;
  readonly secrets: Secrets;
  readonly upstreams: Upstreams;
  readonly vault: VaultServer;
  /** Undefined where redis-server is not installed: the state is in memory. */
  readonly redis: TestRedis | undefined;
  /** PEM that a sandbox trusts. */
  readonly ca: string;
  config(generation: number): string;
  close(): Promise<void>;
}

/** `workers`: more than one share the state through the gate's primary process, and there is no Redis. */
export async function startScene(
  findings: Findings,
  onLine: (line: LogLine | string) => void,
  workers: number,
): Promise<Scene> {
  const dir = tempFolder('soak');
  const secrets = new Secrets();
  mkdirSync(join(dir, 'secrets'));
  writeSecret(dir, secrets.rotate('alpha', 0));
  const vault = await startVault({ secrets: { 'bots/beta': [{ key: secrets.rotate('beta', 0) }] } });
  writeFileSync(join(dir, 'secret-id'), 'sesame-secret-id', { mode: 0o600 });
  const upstreams = new Upstreams(secrets, findings);
  const places = await upstreams.start();
  // What it holds outlives being killed: written before each reply, which `everysec` may put off.
  const kept = ['--appendonly', 'yes', '--appendfsync', 'no'];
  const redis = hasRedis && workers === 1 ? await startRedis(kept) : undefined;
  const base = configuration(dir, vault.address, places, (await testCa()).file, redis?.url, workers);
  const config = (generation: number): string =>
    `# ${generation}\n${JSON.stringify({ ...base, rules: [...base.rules, { name: `unused-${generation}`, hosts: ['unused.test'] }] }, undefined, 1)}\n`;
  writeFileSync(join(dir, 'stubgate.yaml'), config(0));
  const close = async (): Promise<void> => {
    upstreams.close();
    await vault.close();
    await redis?.stop();
  };
  try {
    const gate = await GateProcess.start(dir, onLine);
    const ca = readFileSync(join(dir, 'certs', 'sandbox-ca.pem'), 'utf8');
    return { dir, gate, secrets, upstreams, vault, redis, ca, config, close };
  } catch (error) {
    await close();
    throw error;
  }
}

function configuration(
  dir: string,
  vault: string,
  resolve: Readonly<Record<string, string>>,
  caFile: string,
  redis: string | undefined,
  workers: number,
) {
  const inject = [
    { credential: 'alpha', as: 'bearer' },
    { credential: 'beta', as: 'header', name: 'x-api-key' },
  ];
  return {
    version: 1,
    listen: { proxy: '127.0.0.1:0', admin: '127.0.0.1:0', workers },
    ca: { dir: join(dir, 'certs') },
    audit: { file: join(dir, 'audit.jsonl') },
    state: redis === undefined ? 'memory' : { url: redis, grace: '3s' },
    vaults: {
      local: { type: 'file', dir: join(dir, 'secrets') },
      corp: {
        type: 'hashicorp-vault',
        address: `http://${vault}`,
        auth: { method: 'approle', role_id: 'role-1', secret_id_file: join(dir, 'secret-id') },
      },
    },
    credentials: {
      alpha: { from: 'local:alpha', stub: { env: 'ALPHA' }, ttl: '2s' },
      beta: { from: 'corp:bots/beta#key', stub: { env: 'BETA' }, ttl: '3s' },
    },
    rules: [
      { name: 'one', hosts: [H1_HOST], paths: ['/s/**'], inject },
      { name: 'two', hosts: [H2_HOST], paths: ['/s/**'], inject },
    ] as Record<string, unknown>[],
    upstream: { ca_file: caFile, resolve },
    limits: { drain: '5s', denied_tunnels: 64 },
  };
}
