import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { testCa } from './pki.ts';
import { tempFolder } from './temp.ts';
import type { Upstream } from './upstream.ts';

export interface CredentialSetup {
  /** The real value; it is put in a file of the `file` vault. */
  secret: string;
  /** Environment variable of the stub. */
  env: string;
  shape?: string;
  limits?: Readonly<Record<string, unknown>>;
  /** What a token is minted with from `secret`. */
  mint?: Readonly<Record<string, unknown>>;
}

/** What a test asks of its gate; everything else is port 0, temporary and trusts only the test's CA besides the system's. */
export interface GateSetup {
  credentials?: Readonly<Record<string, CredentialSetup>>;
  /** Credentials that upstreams hand out: name → shape of its stubs. */
  captured?: Readonly<Record<string, string>>;
  /** Rows as the configuration has them. */
  rules: readonly Readonly<Record<string, unknown>>[];
  profiles?: Readonly<Record<string, unknown>>;
  /** Host name → where it really is. */
  upstreams?: Readonly<Record<string, Upstream>>;
  /** More top-level keys; replaces ours of the same name. */
  config?: Readonly<Record<string, unknown>>;
}

export interface GateFiles {
  readonly dir: string;
  readonly configFile: string;
  readonly auditFile: string;
  /** Holds the CA and the admin token. */
  readonly caDir: string;
}

function credentialEntries(dir: string, setup: GateSetup): Record<string, unknown> {
  const entries: Record<string, unknown> = {};
  for (const [name, { secret, env, shape, limits, mint }] of Object.entries(setup.credentials ?? {})) {
    const file = join(dir, `${name}.secret`);
    writeFileSync(file, secret, { mode: 0o600 });
    entries[name] = {
      from: `file:${file}`,
      stub: { env, ...(shape === undefined ? {} : { shape }) },
      ...(limits && { limits }),
      ...(mint && { mint }),
    };
  }
  for (const [name, shape] of Object.entries(setup.captured ?? {}))
    entries[name] = { capture: true, stub: { shape } };
  return entries;
}

/** A folder with the configuration and the secrets of one test gate. */
export async function writeGate(setup: GateSetup): Promise<GateFiles> {
  const dir = tempFolder('gate');
  // Clients may run as somebody else, and must be able to read the CA.
  chmodSync(dir, 0o755);
  const auditFile = join(dir, 'audit.jsonl');
  const caDir = join(dir, 'certs');
  const upstreams = Object.entries(setup.upstreams ?? {});
  const credentials = credentialEntries(dir, setup);
  const config = {
    version: 1,
    listen: { proxy: '127.0.0.1:0', admin: '127.0.0.1:0' },
    ca: { dir: caDir },
    audit: { file: auditFile },
    ...(Object.keys(credentials).length > 0 ? { credentials } : {}),
    rules: setup.rules,
    ...(setup.profiles === undefined ? {} : { profiles: setup.profiles }),
    upstream: {
      ca_file: (await testCa()).file,
      resolve: Object.fromEntries(upstreams.map(([host, { address }]) => [host, address])),
    },
    // A test that fails with a request under way should not wait for it.
    limits: { drain: '1s' },
    ...setup.config,
  };
  const configFile = join(dir, 'stubgate.yaml');
  // JSON is YAML 1.2.
  writeFileSync(configFile, JSON.stringify(config, undefined, 2));
  return { dir, configFile, auditFile, caDir };
}
