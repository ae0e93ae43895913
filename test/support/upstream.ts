import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import net, { type AddressInfo } from 'node:net';
import tls from 'node:tls';
import { Peer } from './peer.ts';
import { testCa } from './pki.ts';

/** A server on loopback that a test gate can be pointed at. */
export interface Upstream {
  readonly port: number;
  /** `127.0.0.1:<port>`, as `upstream.resolve` takes it. */
  readonly address: string;
  close(): Promise<void>;
}

export interface RawUpstream extends Upstream {
  /** Every connection so far, in order of arrival, with every byte received on it. */
  readonly connections: readonly Peer[];
  /** The next connection that no call has taken yet. */
  next(ms?: number): Promise<Peer>;
}

export interface RawOptions {
  /** Names of the certificate; none: plain TCP. */
  hosts?: readonly string[];
  /** Ours to replace: an expired certificate, one of another CA, a client certificate asked for, … */
  tls?: tls.TlsOptions;
}

async function listen(server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

function closer(server: net.Server, sockets: Set<net.Socket>): () => Promise<void> {
  return async () => {
    const closed = once(server, 'close');
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  };
}

/** Collects the raw TCP sockets of a server, so that closing it does not wait for clients. */
function track(server: net.Server): Set<net.Socket> {
  const sockets = new Set<net.Socket>();
  server.on('connection', socket => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
  });
  return sockets;
}

/**
 * An upstream made of bytes: `script` is run for each connection and says what is answered. Without a script the test
 * takes connections with `next()`.
 */
export async function startRaw(
  options: RawOptions,
  script?: (peer: Peer) => Promise<void> | void,
): Promise<RawUpstream> {
  const connections: Peer[] = [];
  const waiting: ((peer: Peer) => void)[] = [];
  const free: Peer[] = [];
  const accept = (socket: net.Socket): void => {
    const peer = new Peer(socket);
    connections.push(peer);
    const taker = waiting.shift();
    if (taker) taker(peer);
    else free.push(peer);
    // A script that waits for more than the gate sends fails in the test that looks, not here.
    Promise.resolve(script?.(peer)).catch(() => peer.cut());
  };
  const identity = options.hosts ? await (await testCa()).issue(options.hosts) : {};
  const secure = options.hosts !== undefined || options.tls !== undefined;
  const server = secure
    ? tls.createServer({ ALPNProtocols: ['http/1.1'], ...identity, ...options.tls }, accept)
    : net.createServer({ allowHalfOpen: true }, accept);
  server.on('tlsClientError', () => undefined);
  const sockets = track(server);
  const port = await listen(server);
  const next = (ms = 10_000): Promise<Peer> =>
    new Promise((resolve, reject) => {
      const ready = free.shift();
      if (ready) return resolve(ready);
      const timer = setTimeout(() => reject(new Error(`no connection within ${ms} ms`)), ms);
      waiting.push(peer => {
        clearTimeout(timer);
        resolve(peer);
      });
    });
  return { port, address: `127.0.0.1:${port}`, connections, next, close: closer(server, sockets) };
}

/** One request as an HTTP stand-in received it. */
export interface Received {
  readonly method: string;
  /** Request target, query included. */
  readonly url: string;
  /** Names in lower case; repeated fields joined as Node does. */
  readonly headers: http.IncomingHttpHeaders;
  /** name, value, … in wire order and case. */
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
}

export interface HttpUpstream extends Upstream {
  /** Every request so far, in order of arrival. */
  readonly requests: readonly Received[];
}

export type Handler = (request: Received, response: http.ServerResponse) => void | Promise<void>;

export interface HttpOptions {
  /** Names of the certificate; none: plain HTTP. */
  hosts?: readonly string[];
}

/** A server on Node's own HTTP stack for a handler that reads bodies itself, such as one that counts a gigabyte. */
export async function startServer(options: HttpOptions, listener: http.RequestListener): Promise<Upstream> {
  const limits = { keepAliveTimeout: 60_000, requestTimeout: 0 };
  const server = options.hosts
    ? https.createServer({ ...limits, ...(await (await testCa()).issue(options.hosts)) }, listener)
    : http.createServer(limits, listener);
  server.on('tlsClientError', () => undefined);
  const sockets = track(server);
  const port = await listen(server);
  return { port, address: `127.0.0.1:${port}`, close: closer(server, sockets) };
}

/** A server that records each request with its body before it answers. */
export async function startHttp(options: HttpOptions, handler: Handler): Promise<HttpUpstream> {
  const requests: Received[] = [];
  const upstream = await startServer(options, (incoming, response) => {
    const chunks: Buffer[] = [];
    incoming.on('error', () => undefined); // a client that goes away
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      const { method = '', url = '', headers, rawHeaders } = incoming;
      const received = { method, url, headers, rawHeaders, body: Buffer.concat(chunks) };
      requests.push(received);
      Promise.resolve(handler(received, response)).catch((error: unknown) => {
        response.destroy(error as Error);
      });
    });
  });
  return { ...upstream, requests };
}

/** What the echo upstream answers: everything that it received. */
export interface Echo {
  readonly method: string;
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly body: string;
}

/** Reflects each request as JSON, and its `authorization` in a header of the answer too. */
export function startEcho(options: HttpOptions): Promise<HttpUpstream> {
  return startHttp(options, (request, response) => {
    const { method, url, headers } = request;
    const sent = request.headers.authorization;
    if (sent !== undefined) response.setHeader('x-echo-authorization', sent);
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ method, url, headers, body: request.body.toString('latin1') }));
  });
}
