// A process of its own: sandbox-runtime's HTTP proxy without the sandbox, with TLS termination and one header replaced.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createHttpProxyServer } from '@anthropic-ai/sandbox-runtime/dist/sandbox/http-proxy.js';
import { createMitmCA } from '@anthropic-ai/sandbox-runtime/dist/sandbox/mitm-ca.js';
import { DOMAIN } from '../origin.ts';
import { loopback } from './lookup.ts';
import type { NodeSettings } from './node-peer.ts';

const { port, dir, originCa, authorization } = JSON.parse(process.argv[2] ?? '') as NodeSettings;
const TEN_MINUTES = 600_000;

const mitmCA = createMitmCA({});
writeFileSync(join(dir, 'ca.pem'), mitmCA.certPem);
const server = createHttpProxyServer({
  filter: (_port, host) => host.endsWith(`.${DOMAIN}`),
  mitmCA,
  mutateHeaders: headers => {
    headers['authorization'] = authorization;
  },
  tlsTerminateUpstreamCA: readFileSync(originCa),
  lookupFor: () => loopback,
  // By default at most 256 tunnels, each closed after 6 s without a request.
  maxTerminatedTunnels: 12_000,
  tunnelTimeouts: { keepAliveMs: TEN_MINUTES },
});
server.listen(port, '127.0.0.1');
