import type { RequestListener } from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Steered } from '../app/gate.ts';
import { createServer } from '../http.ts';
import { adminToken } from '../intercept/ca.ts';
import type { Log } from '../types.ts';
import type { AdminRooms } from './api.ts';
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
  const rooms = { gate, trust, token, host: where.host, log, state };
  let api: Promise<RequestListener> | undefined;
  const server = createServer((request, response) => {
    api ??= load(rooms);
    void api.then(serve => serve(request, response));
  });
  const address = await bind(server, where);
  // No sandbox needs it: it is there when the first request is, but nobody waits for it.
  void nextTurn().then(() => (api ??= load(rooms)));
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

/** What answers: a fifth of all modules of a gate, and Node's `fetch`. */
async function load(rooms: AdminRooms): Promise<RequestListener> {
  const [{ getRequestListener }, { adminApi }] = await Promise.all([
    import('@hono/node-server'),
    import('./api.ts'),
  ]);
  const serve = getRequestListener(adminApi(rooms).fetch, { overrideGlobalObjects: false });
  return (request, response) => void serve(request, response);
}
