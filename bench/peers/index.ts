import { httpMitmProxy } from './http-mitm-proxy.ts';
import { nginx } from './nginx.ts';
import type { Peer } from './peer.ts';
import { squid } from './squid.ts';
import { type GateChoice, stubgate } from './stubgate.ts';

/** In the order of the table's columns. */
export const peers = (gate: GateChoice): Peer[] => {
  const { workers = 1, ...alone } = gate;
  const several = workers > 1 ? [stubgate(gate)] : [];
  return [stubgate(alone), ...several, nginx, squid, httpMitmProxy];
};

export const PEER_NAMES = ['stubgate', 'nginx', 'squid', 'http-mitm-proxy'];
