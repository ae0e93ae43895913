import { performance } from 'node:perf_hooks';
import { connect, type Socket } from 'node:net';
import { Refusal } from '../errors.ts';
import type { Endpoint } from './own.ts';

const KEEP_ALIVE_MS = 60_000;

/** A connection to the first endpoint that answers. They share `connectMs`, so that none of them can use it up. */
export async function connectFirst(endpoints: readonly Endpoint[], connectMs: number): Promise<Socket> {
  const deadline = performance.now() + connectMs;
  let failure = new Refusal('upstream_unreachable');
  for (const [i, endpoint] of endpoints.entries()) {
    const share = (deadline - performance.now()) / (endpoints.length - i);
    try {
      return await connectTo(endpoint, share);
    } catch (thrown) {
      failure = unreachable(thrown);
    }
  }
  throw failure;
}

function connectTo({ address, port }: Endpoint, ms: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: address,
      port,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_MS,
    });
    const timer = setTimeout(() => socket.destroy(new Refusal('upstream_timeout')), Math.max(ms, 1));
    // Stays: an error before the next owner listens must not end the process.
    socket.on('error', error => {
      clearTimeout(timer);
      reject(error);
    });
    socket.once('connect', () => {
      clearTimeout(timer);
      resolve(socket);
    });
  });
}

/** A network error as the refusal that the sandbox is told. */
export function unreachable(thrown: unknown): Refusal {
  if (thrown instanceof Refusal) return thrown;
  const timedOut = (thrown as NodeJS.ErrnoException).code === 'ETIMEDOUT';
  return new Refusal(timedOut ? 'upstream_timeout' : 'upstream_unreachable', { cause: thrown });
}
