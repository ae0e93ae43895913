import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DOMAIN } from '../origin.ts';
import { createCa, issue } from '../pki.ts';
import { freePort, startGroup } from '../processes.ts';
import { absent, firstLine } from './command.ts';
import { OTHER_ROUNDS, type Peer } from './peer.ts';

/** A TLS-terminating reverse proxy in Go: no CONNECT, one fixed certificate, no policy. */
export const caddy: Peer = {
  name: 'caddy',
  mints: false,
  h2: true,
  rounds: OTHER_ROUNDS,
  missing: () => absent('caddy', 'caddy'),
  version: () => `caddy ${firstLine('caddy', ['version']).split(' ')[0]}`,

  async start({ dir, core, origin }) {
    const ca = createCa(dir, 'caddy-ca');
    const identity = issue(dir, 'caddy', ca, `*.${DOMAIN}`);
    const port = await freePort();
    const config = join(dir, 'Caddyfile');
    writeFileSync(
      config,
      `
{
  admin off
  auto_https off
  log {
    level ERROR
  }
  servers {
    protocols h1 h2
  }
}
https://*.${DOMAIN}:${port} {
  bind 127.0.0.1
  tls ${identity.cert} ${identity.key}
  reverse_proxy https://127.0.0.1:${origin.port} {
    header_up Authorization "${origin.authorization}"
    header_up Host {http.request.hostport}
    transport http {
      tls_trusted_ca_certs ${origin.ca.cert}
      tls_server_name api.${DOMAIN}
      keepalive 10m
      keepalive_idle_conns 256
      keepalive_idle_conns_per_host 256
      versions 1.1
    }
  }
}
`,
    );
    const args = ['run', '--config', config, '--adapter', 'caddyfile'];
    const env = { PATH: process.env['PATH'], HOME: dir };
    const group = await startGroup('caddy', args, { name: 'caddy', core, log: join(dir, 'log'), port, env });
    return { group, port, connect: false, authorization: 'Bearer stub', caFile: ca.cert };
  },
};
