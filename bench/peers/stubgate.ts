import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DOMAIN, type Origin } from '../origin.ts';
import { freePort, startGroup } from '../processes.ts';
import type { Peer, Running, Site } from './peer.ts';
import { proveGate } from '../proof.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CREDENTIALS = 10;
const STUB_VARIABLE = 'ORIGIN_TOKEN';

export interface GateChoice {
  /** The built entry file. */
  main: string;
  /** More options for node. */
  nodeOptions?: readonly string[];
  /** Processes of it; 1. */
  workers?: number;
}

export const BUILT = join(ROOT, 'dist', 'main.js');

/** The gate as it is used: policy, swap, scrub of ten secrets and audit are on. */
export function stubgate({ main, nodeOptions = [], workers = 1 }: GateChoice): Peer {
  return {
    name: workers === 1 ? 'stubgate' : `stubgate-w${workers}`,
    mints: true,
    missing: () => unusable(main),
    version: () => `stubgate ${JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).version}`,

    async start(site) {
      const { dir, core, origin } = site;
      const [port, admin] = [await freePort(), await freePort()];
      const secrets = makeSecrets(origin);
      const config = join(dir, 'stubgate.yaml');
      writeFileSync(config, JSON.stringify(configuration(site, port, admin), undefined, 2)); // JSON is YAML
      const args = ['--disable-sigusr1', ...nodeOptions, main, 'start', '--config', config];
      if (workers > 1) args.push('--workers', `${workers}`);
      const env = { PATH: process.env['PATH'], HOME: dir, ...secrets };
      // The admin listener opens last.
      const options = { name: 'stubgate', core, log: join(dir, 'log'), port: admin, cwd: dir, env };
      const group = await startGroup(process.execPath, args, options);
      const session = await createSession(dir, admin);
      const { username, password } = new URL(session.proxy);
      const running: Running = {
        group,
        port,
        connect: true,
        connectHeader: `Proxy-Authorization: Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`,
        authorization: `Bearer ${session.env[STUB_VARIABLE]}`,
        caFile: session.ca_file,
      };
      return {
        ...running,
        prove: () => proveGate(origin, running, dir, Object.values(secrets)),
      };
    },
  };
}

function unusable(main: string): string | undefined {
  if (!existsSync(main)) return `${main} is not there (npm run build)`;
  if (main !== BUILT) return undefined;
  const built = statSync(main).mtimeMs;
  const newer = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' }).find(file => {
    const output = join(dirname(main), file.replace(/\.ts$/, '.js'));
    const source = statSync(join(ROOT, 'src', file));
    return source.isFile() && file.endsWith('.ts') && source.mtimeMs > Math.max(built, modified(output));
  });
  return newer && `src/${newer} is newer than what was built from it (npm run build)`;
}

const modified = (file: string): number => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;

function makeSecrets(origin: Origin): Record<string, string> {
  const secrets: Record<string, string> = {};
  for (let i = 1; i < CREDENTIALS; i++)
    secrets[`BENCH_SECRET_${i}`] = `sk-${randomBytes(24).toString('base64url')}`;
  secrets[`BENCH_SECRET_${CREDENTIALS}`] = origin.authorization.replace('Bearer ', '');
  return secrets;
}

/** Ten rules with a credential each; the origin's is the last, so that every row is looked at. */
function configuration({ dir, origin, hosts }: Site, port: number, admin: number): object {
  const numbers = Array.from({ length: CREDENTIALS }, (_, i) => i + 1);
  const where = (i: number) =>
    i === CREDENTIALS
      ? { hosts: [`*.${DOMAIN}`], ports: [origin.port], paths: ['/v1/*'] }
      : { hosts: [`api.vendor-${i}.example`], paths: ['/v1/**', '/repos/acme/**'] };
  return {
    version: 1,
    listen: { proxy: `127.0.0.1:${port}`, admin: `127.0.0.1:${admin}` },
    ca: { dir: join(dir, 'certs') },
    audit: { file: join(dir, 'audit.jsonl') },
    credentials: Object.fromEntries(
      numbers.map(i => [
        `credential-${i}`,
        {
          from: `env:BENCH_SECRET_${i}`,
          stub: i === CREDENTIALS ? { env: STUB_VARIABLE, shape: 'github-pat' } : {},
        },
      ]),
    ),
    rules: numbers.map(i => ({
      name: `rule-${i}`,
      ...where(i),
      methods: ['GET', 'POST'],
      inject: [{ credential: `credential-${i}`, as: 'bearer' }],
    })),
    upstream: {
      ca_file: origin.ca.cert,
      resolve: Object.fromEntries(hosts.map(host => [host, `127.0.0.1:${origin.port}`])),
    },
    limits: { tunnels: 4096 },
  };
}

interface Session {
  proxy: string;
  ca_file: string;
  env: Record<string, string>;
}

async function createSession(dir: string, admin: number): Promise<Session> {
  const token = readFileSync(join(dir, 'certs', 'admin-token'), 'utf8').trim();
  const answer = await fetch(`http://127.0.0.1:${admin}/v1/sessions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ ttl: '1h', sub: 'bench', labels: { run: 'bench' } }),
  });
  if (answer.status !== 201) throw new Error(`no session: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as Session;
}
