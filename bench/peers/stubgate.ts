import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Origin } from '../origin.ts';
import { freePort, startGroup } from '../processes.ts';
import { configuration, FETCHED, type GateShape, secretVariables, STUB_VARIABLE } from './gate-config.ts';
import type { Peer, Running, Site } from './peer.ts';
import { proveGate } from '../proof.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface GateChoice {
  /** The built entry file. */
  main: string;
  /** More options for node. */
  nodeOptions?: readonly string[];
  shape?: GateShape;
  /** Processes of it; 1. */
  workers?: number;
}

/** What only the gate's own works need. */
export interface RunningGate extends Running {
  /** Its configuration. */
  readonly config: string;
  /** What it logs. */
  readonly log: string;
  /** `Authorization` for the host whose credential is fetched; undefined without it. */
  readonly fetched: string | undefined;
}

export interface Gate extends Peer {
  start(site: Site): Promise<RunningGate>;
}

export const BUILT = join(ROOT, 'dist', 'main.js');

/** The gate as it is used: policy, swap, scrub of ten secrets and audit are on. */
export function stubgate({ main, nodeOptions = [], shape = {}, workers = 1 }: GateChoice): Gate {
  return {
    name: workers === 1 ? 'stubgate' : `stubgate-w${workers}`,
    mints: true,
    h2: true,
    missing: () => unusable(main),
    version: () => `stubgate ${JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).version}`,

    async start(site) {
      const { dir, core, origin } = site;
      const [port, admin] = [await freePort(), await freePort()];
      const secrets = makeSecrets(origin);
      const config = join(dir, 'stubgate.yaml');
      const ports = { port, admin };
      writeFileSync(config, JSON.stringify(configuration(site, ports, shape), undefined, 2)); // JSON is YAML
      // As the first line of main.ts says.
      const args = [
        '--disable-sigusr1',
        '--max-semi-space-size=4',
        ...nodeOptions,
        main,
        'start',
        '--config',
        config,
      ];
      if (workers > 1) args.push('--workers', `${workers}`);
      const env = { PATH: process.env['PATH'], HOME: dir, [FETCHED.tokenVariable]: 'token', ...secrets };
      const log = join(dir, 'log');
      // The admin listener opens last.
      const options = { name: 'stubgate', core, log, port: admin, cwd: dir, env };
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
      const stub = session.env[FETCHED.variable];
      return {
        ...running,
        config,
        log,
        fetched: stub && `Bearer ${stub}`,
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
  return Object.fromEntries(
    secretVariables.map((name, i) => [
      name,
      i === secretVariables.length - 1
        ? origin.authorization.replace('Bearer ', '')
        : `sk-${randomBytes(24).toString('base64url')}`,
    ]),
  );
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
