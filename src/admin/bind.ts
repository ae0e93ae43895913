import { lstatSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import type { ListenAddress } from '../config/types.ts';

/** Settles with `host:port` or `unix:/path` when the server accepts connections. */
export async function bind(server: Server, address: ListenAddress): Promise<string> {
  if (address.path !== undefined) {
    await removeStaleSocket(address.path);
    // The socket must be private from its first moment on. It is made before `listen` returns.
    const before = process.umask(0o177);
    const listening = listen(server, { path: address.path });
    process.umask(before);
    await listening;
    return `unix:${address.path}`;
  }
  await listen(server, { host: address.host, port: address.port });
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('the admin listener has no address');
  return bound.family === 'IPv6' ? `[${bound.address}]:${bound.port}` : `${bound.address}:${bound.port}`;
}

function listen(server: Server, where: { path: string } | { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Removes a socket that nobody listens on any more. Throws for one that is in use, and for anything but a socket. */
async function removeStaleSocket(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat) return;
  if (!stat.isSocket())
    throw new Error(`${path}: is there, and is no socket; name another path in listen.admin`);
  if (await answers(path))
    throw new Error(`${path}: another process listens there; name another path in listen.admin`);
  rmSync(path, { force: true });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(false);
      else reject(error);
    });
  });
}
