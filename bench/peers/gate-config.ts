import { join } from 'node:path';
import { DOMAIN } from '../origin.ts';
import type { Site } from './peer.ts';

const CREDENTIALS = 10;
/** Where the sandbox finds the stub of the credential that the origin accepts. */
export const STUB_VARIABLE = 'ORIGIN_TOKEN';
/** The same of one that a vault hands out anew each time, and the host that is asked with it. */
export const FETCHED = { variable: 'FETCHED_TOKEN', host: `fetched.${DOMAIN}`, tokenVariable: 'BENCH_VAULT' };

/** What differs from the gate that the peers are compared with: ten rules, secrets in the environment. */
export interface GateShape {
  /** Rows of the table; the one that matches is the last. */
  readonly rules?: number;
  /** One more credential, out of HashiCorp Vault's protocol, that is read again each second. */
  readonly fetches?: boolean;
}

export const secretVariables = Array.from({ length: CREDENTIALS }, (_, i) => `BENCH_SECRET_${i + 1}`);

/** A configuration of the gate, as a plain object. Each rule has one of ten credentials. */
export function configuration(
  { dir, origin, hosts }: Site,
  { port, admin }: { readonly port: number; readonly admin: number },
  { rules = CREDENTIALS, fetches = false }: GateShape,
): object {
  const credential = (i: number): string => `credential-${i === rules ? CREDENTIALS : ((i - 1) % 9) + 1}`;
  const where = (i: number): object =>
    i === rules
      ? { hosts: [`*.${DOMAIN}`], ports: [origin.port], paths: ['/v1/*'] }
      : { hosts: [`api.vendor-${i}.example`], paths: ['/v1/**', '/repos/acme/**'] };
  const row = (i: number): object => ({
    name: `rule-${i}`,
    ...where(i),
    methods: ['GET', 'POST'],
    inject: [{ credential: credential(i), as: 'bearer' }],
  });
  const plain = secretVariables.map((variable, i) => [
    `credential-${i + 1}`,
    {
      from: `env:${variable}`,
      stub: i + 1 === CREDENTIALS ? { env: STUB_VARIABLE, shape: 'github-pat' } : {},
    },
  ]);
  const reached = fetches ? [...hosts, FETCHED.host] : hosts;
  return {
    version: 1,
    listen: { proxy: `127.0.0.1:${port}`, admin: `127.0.0.1:${admin}` },
    ca: { dir: join(dir, 'certs') },
    audit: { file: join(dir, 'audit.jsonl') },
    ...(fetches && { vaults: { vault: vault(origin) } }),
    credentials: { ...Object.fromEntries(plain), ...(fetches && { fetched: fetchedCredential }) },
    rules: [
      ...(fetches ? [fetchedRule(origin)] : []),
      ...Array.from({ length: rules }, (_, i) => row(i + 1)),
    ],
    upstream: {
      ca_file: origin.ca.cert,
      resolve: Object.fromEntries(reached.map(host => [host, `127.0.0.1:${portOf(host, origin)}`])),
    },
    limits: { tunnels: 12_000 },
  };
}

const portOf = (host: string, origin: Site['origin']): number =>
  host === FETCHED.host ? origin.vaultPort : origin.port;

const fetchedCredential = { from: 'vault:bench#token', ttl: '1s', stub: { env: FETCHED.variable } };

const vault = ({ vaultPort, ca }: Site['origin']): object => ({
  type: 'hashicorp-vault',
  address: `https://127.0.0.1:${vaultPort}`,
  ca_file: ca.cert,
  auth: { method: 'token', token_env: FETCHED.tokenVariable },
});

const fetchedRule = ({ vaultPort }: Site['origin']): object => ({
  name: 'fetched',
  hosts: [FETCHED.host],
  ports: [vaultPort],
  inject: [{ credential: 'fetched', as: 'bearer' }],
});
