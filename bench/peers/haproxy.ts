import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DOMAIN } from '../origin.ts';
import { createCa, issue } from '../pki.ts';
import { freePort, startGroup } from '../processes.ts';
import { absent, firstLine } from './command.ts';
import { OTHER_ROUNDS, type Peer } from './peer.ts';

/** A TLS-terminating reverse proxy like nginx: no CONNECT, one fixed certificate, no policy. */
export const haproxy: Peer = {
  name: 'haproxy',
  mints: false,
  h2: true,
  rounds: OTHER_ROUNDS,
  missing: () => absent('haproxy', 'haproxy'),
  version: () => firstLine('haproxy', ['-v']).split(' ').slice(0, 3).join(' '),

  async start({ dir, core, origin }) {
    const ca = createCa(dir, 'haproxy-ca');
    const identity = issue(dir, 'haproxy', ca, `*.${DOMAIN}`);
    const pair = join(dir, 'haproxy-pair.pem');
    writeFileSync(pair, readFileSync(identity.cert, 'utf8') + readFileSync(identity.key, 'utf8'), {
      mode: 0o600,
    });
    const port = await freePort();
    const config = join(dir, 'haproxy.cfg');
    writeFileSync(
      config,
      `
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 10m
  timeout server 10m
  timeout http-keep-alive 10m
  http-reuse always
frontend clients
  bind 127.0.0.1:${port} ssl crt ${pair} alpn h2,http/1.1 backlog 4096
  http-request set-header Authorization "${origin.authorization}"
  default_backend origin
backend origin
  server origin 127.0.0.1:${origin.port} ssl verify required ca-file ${origin.ca.cert} sni req.hdr(host),field(1,:)
`,
    );
    const args = ['-f', config, '-db'];
    const group = await startGroup('haproxy', args, { name: 'haproxy', core, log: join(dir, 'log'), port });
    return { group, port, connect: false, authorization: 'Bearer stub', caFile: ca.cert };
  },
};
