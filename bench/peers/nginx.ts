import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DOMAIN, nginxConfig } from '../origin.ts';
import { createCa, issue } from '../pki.ts';
import { freePort, startGroup } from '../processes.ts';
import { absent, firstLine } from './command.ts';
import type { Peer } from './peer.ts';

/** A TLS-terminating reverse proxy: no CONNECT, one fixed certificate, no policy. The limit of what can be had. */
export const nginx: Peer = {
  name: 'nginx',
  mints: false,
  h2: true,
  missing: () => absent('nginx', 'nginx-light'),
  version: () => firstLine('nginx', ['-v']),

  async start({ dir, core, origin }) {
    const ca = createCa(dir, 'nginx-ca');
    const identity = issue(dir, 'nginx', ca, `*.${DOMAIN}`);
    const port = await freePort();
    const config = join(dir, 'nginx.conf');
    const http = `
  upstream origin { server 127.0.0.1:${origin.port}; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port} ssl http2 backlog=4096;
    ssl_certificate ${identity.cert};
    ssl_certificate_key ${identity.key};
    location / {
      proxy_pass https://origin;
      proxy_http_version 1.1;
      proxy_max_temp_file_size 0;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header Authorization "${origin.authorization}";
      proxy_ssl_server_name on;
      proxy_ssl_name $host;
      proxy_ssl_verify on;
      proxy_ssl_trusted_certificate ${origin.ca.cert};
      proxy_ssl_session_reuse on;
      proxy_ssl_protocols TLSv1.2 TLSv1.3;
    }
  }`;
    writeFileSync(config, nginxConfig(dir, http));
    const args = ['-p', dir, '-c', config, '-e', 'stderr'];
    const group = await startGroup('nginx', args, { name: 'nginx', core, log: join(dir, 'log'), port });
    return { group, port, connect: false, authorization: 'Bearer stub', caFile: ca.cert };
  },
};
