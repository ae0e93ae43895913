import type { EventEmitter } from 'node:events';
import { createRequire } from 'node:module';
import type { Redis, SentinelConnector } from 'ioredis';

/** How ioredis opens a socket. */
interface Connector {
  connect: (this: Connector, ...how: never[]) => Promise<EventEmitter>;
}

/** How ioredis reads one. */
interface DataHandler {
  readonly redis: { disconnect(reconnect: boolean): void };
  dispatch: (this: DataHandler, take: () => void) => void;
}

let mended = false;

/** Two places in which ioredis 6.0 throws where nobody can catch it, so that the other end could end the gate. */
export function mend(client: typeof Redis, sentinel: typeof SentinelConnector): void {
  if (mended) return;
  mended = true;
  const { connector } = new client({ lazyConnect: true }) as unknown as { connector: object };
  keepListening(Object.getPrototypeOf(connector) as Connector);
  keepListening(sentinel.prototype);
  const reader = createRequire(import.meta.url)('ioredis/built/DataHandler.js') as {
    default: { prototype: DataHandler };
  };
  giveUpOnNonsense(reader.default.prototype);
}

/**
 * It listens to the first error of a socket only. TLS may have a second one: ours, that the certificate is not right, and
 * then the server's alert.
 */
function keepListening(connector: Connector): void {
  const { connect } = connector;
  connector.connect = async function (...how) {
    const socket = await connect.apply(this, how);
    return socket.on('error', () => {});
  };
}

/** It throws what it trips over, such as a nil that nobody asked for, when nobody is there any more to catch it. */
function giveUpOnNonsense(handler: DataHandler): void {
  handler.dispatch = function (take) {
    try {
      take();
    } catch {
      this.redis.disconnect(true);
    }
  };
}
