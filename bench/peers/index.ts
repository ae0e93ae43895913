import { caddy } from './caddy.ts';
import { haproxy } from './haproxy.ts';
import { httpMitmProxy } from './http-mitm-proxy.ts';
import { mitmproxy } from './mitmproxy.ts';
import { mockttp } from './mockttp.ts';
import { nginx } from './nginx.ts';
import type { Peer } from './peer.ts';
import { sandboxRuntime } from './sandbox-runtime.ts';
import { squid } from './squid.ts';
import { type GateChoice, stubgate } from './stubgate.ts';

/** In the order of the table's columns: the gate, reverse proxies, proxies that intercept. */
const OTHERS: readonly Peer[] = [
  nginx,
  haproxy,
  caddy,
  squid,
  sandboxRuntime,
  httpMitmProxy,
  mockttp,
  mitmproxy,
];

export const peers = (gate: GateChoice): Peer[] => {
  const { workers = 1, ...alone } = gate;
  const several = workers > 1 ? [stubgate(gate)] : [];
  return [stubgate(alone), ...several, ...OTHERS];
};

export const PEER_NAMES = ['stubgate', ...OTHERS.map(({ name }) => name)];

/** Those that the project's targets name. */
export const REFERENCES = ['stubgate', 'nginx', 'squid'];

/** Those that terminate TLS for a fixed name: a limit, not a choice. */
export const REVERSE = OTHERS.filter(({ mints }) => !mints).map(({ name }) => name);
