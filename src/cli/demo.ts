import { hash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GateOptions } from '../app.ts';
import type { Config } from '../config/types.ts';
import { openAuthority } from '../intercept/ca.ts';
import { Contexts } from '../intercept/contexts.ts';
import type { CanonicalHost } from '../types.ts';

export const DEMO_HOST = 'demo.stubgate.test' as CanonicalHost;
export const DEMO_VARIABLE = 'STUBGATE_DEMO_SECRET';

export interface Demo {
  readonly upstreams: NonNullable<GateOptions['extraUpstreams']>;
  close(): void;
}

/** Whether a configuration sends anything to the demo upstream. */
export function namesDemo(config: Config): boolean {
  return config.rules.some(rule => rule.hosts.includes(DEMO_HOST));
}

/**
 * An upstream on loopback that shows what it received: the header as it stands, which the gate scrubs on its way back,
 * and a fingerprint of it, which proves that the real secret arrived. Sets the demo's secret if nobody did.
 */
export async function startDemo(config: Config): Promise<Demo> {
  process.env[DEMO_VARIABLE] ??= `demo-secret-${randomBytes(16).toString('hex')}`;
  const dir = mkdtempSync(join(tmpdir(), 'stubgate-demo-'));
  const authority = openAuthority({ dir });
  // Nobody may sign what the gate trusts: the key lives in memory only.
  rmSync(join(dir, 'ca.key'));
  const caFile = join(dir, 'trust.pem');
  const { caFile: corporate } = config.upstream;
  writeFileSync(caFile, authority.rootPem + (corporate === undefined ? '' : readFileSync(corporate, 'utf8')));
  const contexts = new Contexts(authority);
  const server = createServer({ SNICallback: (_, done) => done(null, contexts.get(DEMO_HOST)) }, show);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { address, port } = server.address() as AddressInfo;
  return {
    upstreams: { resolve: new Map([[DEMO_HOST, { address, port }]]), caFile },
    close: () => {
      server.close();
      server.closeAllConnections();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function show(request: IncomingMessage, response: ServerResponse): void {
  const authorization = request.headers.authorization ?? null;
  const credential = authorization?.replace(/^Bearer /, '');
  const received = {
    method: request.method,
    path: request.url,
    authorization,
    credential_sha256: credential === undefined ? null : hash('sha256', credential).slice(0, 12),
  };
  response.setHeader('content-type', 'application/json');
  response.end(`${JSON.stringify({ received }, undefined, 2)}\n`);
}

/** What the demo upstream shows if the real secret arrived. */
export const demoFingerprint = (): string => hash('sha256', process.env[DEMO_VARIABLE] ?? '').slice(0, 12);

/** A configuration for `start --demo` where there is none, in a folder that goes with the process. */
export function writeDemoConfig(): string {
  const dir = mkdtempSync(join(tmpdir(), 'stubgate-demo-'));
  process.once('exit', () => rmSync(dir, { recursive: true, force: true }));
  const file = join(dir, 'stubgate.yaml');
  writeFileSync(file, DEMO_CONFIG);
  return file;
}

const DEMO_CONFIG = `version: 1
credentials:
  demo:
    from: env:${DEMO_VARIABLE}
    stub: { env: DEMO_TOKEN }
rules:
  - name: demo
    hosts: [${DEMO_HOST}]
    methods: [GET, POST]
    inject: [{ credential: demo, as: bearer }]
`;
