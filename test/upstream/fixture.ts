import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TlsOptions, type TLSSocket } from 'node:tls';
import { onTestFinished } from 'vitest';
import type { Reason } from '../../src/errors.ts';
import { Refusal } from '../../src/errors.ts';
import { type Cidr, parseCidr } from '../../src/policy/address.ts';
import type { CanonicalHost } from '../../src/types.ts';
import type { Origin } from '../../src/upstream/dial.ts';
import { Upstream, type UpstreamLimits, type UpstreamOptions } from '../../src/upstream/pool.ts';
import type { Lookup } from '../../src/upstream/resolve.ts';
import { type ClientConnection, NONE } from '../../src/wire/client.ts';
import { CLIENT_LIMITS } from '../../src/wire/limits.ts';
import type { ResponseHead } from '../../src/types.ts';

export const LIMITS: UpstreamLimits = {
  ...CLIENT_LIMITS,
  connectMs: 5000,
  idleMs: 30_000,
  maxIdlePerOrigin: 64,
  maxPerOrigin: 1024,
};

export const cidrs = (...texts: string[]): Cidr[] => texts.map(text => parseCidr(text) as Cidr);
export const LOOPBACK = cidrs('127.0.0.0/8', '::1/128');

/** Answers of the test's own, and what was asked. A host with several answers in a row gives one after the other. */
export function table(hosts: Record<string, readonly (readonly string[])[]>): {
  lookup: Lookup;
  asked: string[];
} {
  const asked: string[] = [];
  const left = new Map(Object.entries(hosts).map(([host, answers]) => [host, [...answers]]));
  const lookup: Lookup = async host => {
    asked.push(host);
    const answers = left.get(host);
    const answer = answers && answers.length > 1 ? answers.shift() : answers?.[0];
    if (!answer) throw Object.assign(new Error(`getaddrinfo ENOTFOUND ${host}`), { code: 'ENOTFOUND' });
    return answer;
  };
  return { lookup, asked };
}

export interface Listening {
  readonly port: number;
  /** Accepted connections, TCP. */
  readonly sockets: Socket[];
}

/** A server on 127.0.0.1 (or `host`) that goes with the test. */
export async function listening(server: Server, host = '127.0.0.1'): Promise<Listening> {
  const sockets: Socket[] = [];
  server.on('connection', socket => {
    sockets.push(socket);
    socket.on('error', () => {});
  });
  server.listen(0, host);
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, sockets };
}

export function tcpServer(onSocket: (socket: Socket) => void = () => {}, host?: string): Promise<Listening> {
  return listening(createServer(onSocket), host);
}

/** `received`: application bytes; `resumed`: whether each handshake was one. */
export interface TlsListening extends Listening {
  readonly received: Buffer[];
  readonly resumed: boolean[];
  readonly names: (string | false | null)[];
}

export async function tlsServer(
  options: TlsOptions,
  onSocket?: (socket: TLSSocket) => void,
): Promise<TlsListening> {
  const received: Buffer[] = [];
  const resumed: boolean[] = [];
  const names: (string | false | null)[] = [];
  const server = createTlsServer(options, socket => {
    resumed.push(socket.isSessionReused());
    names.push((socket as { servername?: string | false }).servername ?? null);
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => received.push(chunk));
    onSocket?.(socket);
  });
  server.on('tlsClientError', () => {});
  return { ...(await listening(server)), received, resumed, names };
}

/** Answers each request head with `answer`. */
export function answering(answer: string): (socket: Socket) => void {
  return socket => {
    socket.on('data', chunk => {
      for (const _ of chunk.toString('latin1').matchAll(/\r\n\r\n/g)) socket.write(answer);
    });
  };
}

export const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';

/** An upstream none of whose servers speaks HTTP/2. */
export interface Http1Upstream extends Pick<Upstream, 'connectRaw' | 'sweep' | 'close'> {
  acquire(origin: Origin, session?: string): ClientConnection | Promise<ClientConnection>;
}

export function upstreamWith(options: Partial<UpstreamOptions> = {}): Http1Upstream {
  const upstream = new Upstream({
    resolve: new Map(),
    allowPrivate: LOOPBACK,
    own: () => [],
    limits: LIMITS,
    lookup: table({}).lookup,
    ...options,
  });
  onTestFinished(() => upstream.close());
  return upstream as unknown as Http1Upstream;
}

export function origin(host: string, port: number, scheme: 'http' | 'https' = 'http'): Origin {
  return { scheme, host: host as CanonicalHost, port };
}

export async function acquire(upstream: Http1Upstream, from: Origin): Promise<ClientConnection> {
  return await upstream.acquire(from);
}

/** One GET; settles when the answer is complete. */
export function get(connection: ClientConnection): Promise<ResponseHead> {
  return new Promise((resolve, reject) => {
    const sink = connection.send('GET / HTTP/1.1\r\nhost: a.test\r\n', 'GET', NONE, {
      informational: () => {},
      response: (head, body) =>
        body.pipe({ write: () => true, end: () => resolve(head), abort: reject, onDrain: null }),
      failed: reject,
    });
    sink.end([]);
  });
}

/** The code that a promise is refused with. */
export async function refusal(promise: Promise<unknown>): Promise<Reason | 'not refused'> {
  try {
    await promise;
    return 'not refused';
  } catch (thrown) {
    if (thrown instanceof Refusal) return thrown.code;
    throw thrown;
  }
}
