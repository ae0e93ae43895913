import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import * as net from 'node:net';
import { getSystemErrorName } from 'node:util';

/** A bound socket that this process keeps and does not accept on. */
export interface BoundSocket {
  readonly fd: number;
  close(): void;
}

export interface Bound {
  /** IP address. */
  readonly host: string;
  readonly port: number;
  readonly sockets: readonly BoundSocket[];
}

interface Handle extends BoundSocket {
  getsockname(out: { port?: number }): number;
}

/**
 * What node:cluster binds with: the only way in Node to have a socket without accepting on it. Gives a handle, or the
 * system's error number.
 */
type CreateHandle = (address: string, port: number, family: number, fd: -1, flags: number) => Handle | number;

/** uv_tcp_bind: connections are spread over all sockets that are bound so. */
const REUSE_PORT = 2;

/**
 * Sockets of one address, one for each worker. As they stay open here, a connection that waits for a worker which is gone
 * waits for the next one: nobody is refused. Throws the system's error.
 */
export async function bindSockets(host: string, port: number, count: number): Promise<Bound> {
  const { address, family } = await lookup(host);
  // With a shared port it is no error that another gate has it.
  if (port !== 0) await requireFree(address, port);
  const sockets = [bind(address, port, family)];
  const name: { port?: number } = {};
  sockets[0]?.getsockname(name);
  const bound = name.port ?? port;
  while (sockets.length < count) sockets.push(bind(address, bound, family));
  return { host: address, port: bound, sockets };
}

function bind(address: string, port: number, family: number): Handle {
  const create = (net as unknown as { _createServerHandle: CreateHandle })._createServerHandle;
  const handle = create(address, port, family, -1, REUSE_PORT);
  if (typeof handle !== 'number') return handle;
  const code = getSystemErrorName(handle);
  if (code === 'ENOTSUP')
    throw new Error('this system cannot share a port among processes; write listen.workers: 1');
  throw Object.assign(new Error(`listen ${code}: ${address}:${port}`), { code });
}

async function requireFree(host: string, port: number): Promise<void> {
  const server = net.createServer(socket => socket.destroy()).listen({ host, port, exclusive: true });
  await once(server, 'listening');
  server.close();
  await once(server, 'close');
}
