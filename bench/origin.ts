import { randomBytes } from 'node:crypto';
import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type KeyPair, createCa, issue } from './pki.ts';
import { type Group, freePort, startGroup } from './processes.ts';

export const MB = 1_000_000;
export const FILE_BYTES = 100 * MB;
export const HUGE_BYTES = 1000 * MB;

/** Every name below this one is the origin. */
export const DOMAIN = 'bench.test';

/** What can be asked for. Each needs the real credential; anything else is answered with 401. */
export const PATHS = {
  small: '/v1/small',
  page: '/v1/page',
  file: '/v1/file',
  huge: '/v1/huge',
  /** Gives the credential back. */
  echo: '/v1/echo',
  /** On the vault's port: wants no credential. */
  open: '/v1/open',
} as const;

export const SMALL = JSON.stringify({
  id: 'run_01HZX4T7',
  object: 'workflow.run',
  status: 'completed',
  conclusion: 'success',
  attempt: 1,
  created: 1767225600,
  labels: ['ci', 'linux'],
});

export const PAGE = JSON.stringify(
  Array.from({ length: 64 }, (_, i) => ({
    id: 4_000_000 + i,
    name: `artifact-${i}`,
    url: `https://api.${DOMAIN}/repos/acme/app/actions/artifacts/${4_000_000 + i}/zip`,
    size: 1024 * i,
    expired: i % 7 === 0,
  })),
);

export interface Origin {
  readonly port: number;
  /** Speaks as much of HashiCorp Vault's protocol as one credential needs; its value is another one each time. */
  readonly vaultPort: number;
  /** The only `Authorization` that it accepts. */
  readonly authorization: string;
  readonly ca: KeyPair;
  readonly group: Group;
  /** It offers HTTP/2, too. */
  readonly http2: boolean;
}

/** Settings that keep an nginx inside `dir` and free of anything that is not the work itself. */
export const nginxConfig = (dir: string, http: string): string => `
daemon off;
worker_processes 1;
pid ${dir}/nginx.pid;
error_log stderr error;
worker_rlimit_nofile 20000;
events { worker_connections 19000; }
http {
  access_log off;
  ssl_protocols TLSv1.2 TLSv1.3;
  default_type application/json;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(kind => `${kind}_temp_path ${dir}/tmp_${kind};`).join(' ')}
  ${http}
}
`;

/** One nginx worker with TLS, in the new folder `dir`: a small JSON, a 10 KB JSON, 100 MB of random bytes, 1 GB of zeros. */
export async function startOrigin(dir: string, core: number, http2 = false): Promise<Origin> {
  mkdirSync(dir, { mode: 0o711 });
  const ca = createCa(dir, 'origin-ca');
  const identity = issue(dir, 'origin', ca, `*.${DOMAIN}`);
  const authorization = `Bearer ghp_${randomBytes(18).toString('hex')}`;
  const [port, vaultPort] = [await freePort(), await freePort()];
  writeFiles(dir);
  const config = join(dir, 'origin.conf');
  const http = `
  open_file_cache max=16;
  output_buffers 2 128k;
  ssl_session_cache shared:tls:10m;
  server {
    listen 127.0.0.1:${port} ssl${http2 ? ' http2' : ''} backlog=4096;
    ssl_certificate ${identity.cert};
    ssl_certificate_key ${identity.key};
    if ($http_authorization != "${authorization}") { return 401; }
    location = ${PATHS.small} { return 200 '${SMALL}'; }
    location = ${PATHS.echo} { return 200 '{"authorization":"$http_authorization"}'; }
    location = ${PATHS.page} { alias ${dir}/page.json; }
    location = ${PATHS.file} { alias ${dir}/file.bin; }
    location = ${PATHS.huge} { alias ${dir}/huge.bin; }
    location / { return 404; }
  }
  server {
    listen 127.0.0.1:${vaultPort} ssl;
    ssl_certificate ${identity.cert};
    ssl_certificate_key ${identity.key};
    location = /v1/auth/token/lookup-self { return 200 '{"data":{"ttl":0,"renewable":false}}'; }
    location /v1/secret/data/ { return 200 '{"data":{"data":{"token":"sk-$request_id"},"metadata":{"version":1}}}'; }
    location = ${PATHS.open} { return 200 '${SMALL}'; }
    location / { return 404 '{"errors":[]}'; }
  }`;
  writeFileSync(config, nginxConfig(dir, http));
  const args = ['-p', dir, '-c', config, '-e', 'stderr'];
  const group = await startGroup('nginx', args, { name: 'origin', core, log: join(dir, 'origin.log'), port });
  return { port, vaultPort, authorization, ca, group, http2 };
}

function writeFiles(dir: string): void {
  writeFileSync(join(dir, 'page.json'), PAGE);
  const file = openSync(join(dir, 'file.bin'), 'w');
  const block = randomBytes(MB);
  for (let written = 0; written < FILE_BYTES; written += block.length) writeSync(file, block);
  closeSync(file);
  const huge = openSync(join(dir, 'huge.bin'), 'w');
  ftruncateSync(huge, HUGE_BYTES); // a sparse file: takes no room
  closeSync(huge);
}
