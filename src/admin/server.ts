import type { Server } from 'node:http';
import { createAdaptorServer } from '@hono/node-server';
import type { Steered } from '../app/gate.ts';
import { adminToken } from '../intercept/ca.ts';
import type { Log } from '../types.ts';
import { adminApi } from './api.ts';
import { bind } from './bind.ts';
import type { TrustFiles } from './environment.ts';

export interface Admin {
  /** `host:port` or `unix:/path`. */
  readonly address: string;
  /** Not ready any more: `/readyz` says so, everything else goes on. */
  drain(): void;
  close(): Promise<void>;
}

/** Settles when the control plane accepts connections. */
export async function startAdmin(gate: Steered, trust: TrustFiles, log: Log): Promise<Admin> {
  const where = gate.config.listen.admin;
  const token = adminToken(gate.config.ca.dir);
  const state = { draining: false };
  const api = adminApi({ gate, trust, token, host: where.host, log, state });
  // The adapter makes an HTTP/1.1 server unless told otherwise.
  const server = createAdaptorServer({ fetch: api.fetch, overrideGlobalObjects: false }) as Server;
  const address = await bind(server, where);
  const bound = server.address();
  // Whatever the policy says, no sandbox gets here through the proxy.
  if (bound !== null && typeof bound === 'object') gate.guard(bound.address, bound.port);
  return {
    address,
    drain: () => {
      state.draining = true;
    },
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
