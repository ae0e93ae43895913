import { readFileSync, readlinkSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Compiled } from '../../config/types.ts';
import type { BreakOut } from './program.ts';

/** What is tried from inside. */
export interface Plan {
  readonly gate: { readonly host: string; readonly port: number };
  /** Of the session, for Proxy-Authorization. */
  readonly authorization: string;
  readonly addresses: readonly (readonly [what: string, host: string, port: number])[];
  /** Of loopback outside. */
  readonly ports: readonly (readonly [what: string, port: number])[];
  readonly files: readonly string[];
  /** Name → the gate's own (namespaces(7)). */
  readonly namespaces: Readonly<Record<string, string>>;
}

/** Only named here: they are dialled in a namespace without a route, and nowhere else. */
const ADDRESSES = [
  ['a public address', '1.1.1.1', 443],
  ['a private address', '10.0.0.1', 443],
  ['the metadata service', '169.254.169.254', 80],
  ['the metadata service by IPv6', 'fd00:ec2::254', 80],
] as const;
const NAMESPACES = ['net', 'pid', 'mnt', 'ipc', 'user'];
/** Other listeners of the machine that are tried. */
const MAX_PORTS = 20;
const INSIDE = fileURLToPath(new URL(`./inside${extname(import.meta.url)}`, import.meta.url));

export const NOT_RUN: readonly BreakOut[] = [
  'direct connections',
  'DNS',
  'metadata addresses',
  'other listeners of the machine',
  'the admin listener',
  'the gate’s files',
  'namespaces and privileges',
].map(what => ({ what, verdict: 'not run', detail: 'it needs --isolate' }));

/** The program that tries them: a command for an isolated sandbox of the same kind. `files`: more of the gate's. */
export function breakOutCommand(
  { config }: Compiled,
  proxy: URL,
  own: { readonly host: string; readonly port: number },
  files: readonly string[],
): { readonly command: string; readonly args: readonly string[] } {
  const { admin } = config.listen;
  const adminPort = admin.port === undefined || admin.port === 0 ? [] : [admin.port];
  const others = listening().filter(port => port !== own.port && !adminPort.includes(port));
  const userinfo = `${proxy.username}:${decodeURIComponent(proxy.password)}`;
  const plan: Plan = {
    gate: own,
    authorization: `Basic ${Buffer.from(userinfo).toString('base64')}`,
    addresses: ADDRESSES,
    ports: [
      ...adminPort.map(port => ['the admin listener', port] as const),
      ...others.slice(0, MAX_PORTS).map(port => ['another listener of the machine', port] as const),
    ],
    files: [
      ...files,
      config.file,
      config.audit.file,
      join(config.ca.dir, 'ca.key'),
      join(config.ca.dir, 'admin-token'),
      ...(config.ca.key === undefined ? [] : [config.ca.key]),
      ...(admin.path === undefined ? [] : [admin.path]),
    ],
    namespaces: Object.fromEntries(NAMESPACES.map(name => [name, readlinkSync(`/proc/self/ns/${name}`)])),
  };
  return { command: process.execPath, args: [INSIDE, JSON.stringify(plan)] };
}

/** Throws if it told nothing: then nothing is proved. */
export function readBreakOuts(output: string): readonly BreakOut[] {
  try {
    return JSON.parse(output) as BreakOut[];
  } catch {
    throw new Error('what tries to break out did not run in the sandbox');
  }
}

/** Ports on which something on this machine listens (proc_net(5): /proc/net/tcp, state 0A). */
function listening(): number[] {
  const lines = ['/proc/net/tcp', '/proc/net/tcp6'].flatMap(file => readFileSync(file, 'latin1').split('\n'));
  const ports = lines.flatMap(line => {
    const port = /^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) \S+ 0A /.exec(line)?.[1];
    return port === undefined ? [] : [Number.parseInt(port, 16)];
  });
  return [...new Set(ports)];
}
