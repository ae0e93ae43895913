import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import http2 from 'node:http2';
import net, { type AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import tls from 'node:tls';
import { testCa } from './pki.ts';
import { connect, type Proxy } from './raw-client.ts';
import type { Upstream } from './upstream.ts';

/** One stream as an HTTP/2 stand-in received it. */
export interface H2Received {
  /** name, value, … in wire order, pseudo-headers included. */
  readonly raw: readonly string[];
  readonly headers: http2.IncomingHttpHeaders;
  readonly stream: http2.ServerHttp2Stream;
  /** So far. */
  readonly body: Buffer;
  /** Of the connection that it came on. */
  readonly connection: number;
}

export interface H2Upstream extends Upstream {
  readonly requests: readonly H2Received[];
  readonly sessions: readonly http2.ServerHttp2Session[];
}

export interface H2Options extends http2.SecureServerOptions {
  hosts: readonly string[];
  /** Speaks HTTP/1.1, too, and is given the requests in it that ask for another protocol. */
  onUpgrade?: (request: IncomingMessage, socket: Duplex) => void;
}

/** A server on Node's own HTTP/2 stack; `handler` is called with each head. */
export async function startH2(
  { hosts, onUpgrade, ...options }: H2Options,
  handler: (stream: http2.ServerHttp2Stream, request: H2Received) => void,
): Promise<H2Upstream> {
  const requests: H2Received[] = [];
  const sessions: http2.ServerHttp2Session[] = [];
  const sockets = new Set<net.Socket>();
  const identity = await (await testCa()).issue(hosts);
  const server = http2.createSecureServer({ ...options, ...identity, allowHTTP1: onUpgrade !== undefined });
  if (onUpgrade) server.on('upgrade', onUpgrade);
  server.on('connection', (socket: net.Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
  });
  server.on('sessionError', () => undefined);
  server.on('session', session => sessions.push(session));
  server.on('stream', (stream: http2.ServerHttp2Stream, headers, _flags, raw) => {
    const chunks: Buffer[] = [];
    stream.on('error', () => undefined);
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    const connection = sessions.indexOf(stream.session as http2.ServerHttp2Session);
    const request: H2Received = {
      raw,
      headers,
      stream,
      connection,
      get body() {
        return Buffer.concat(chunks);
      },
    };
    requests.push(request);
    handler(stream, request);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const close = async (): Promise<void> => {
    const closed = once(server, 'close');
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  return { port, address: `127.0.0.1:${port}`, requests, sessions, close };
}

export interface H2Reply {
  readonly status: number;
  /** name, value, … in wire order, pseudo-headers included. */
  readonly raw: readonly string[];
  readonly headers: http2.IncomingHttpHeaders;
  readonly body: Buffer;
  readonly trailers: http2.IncomingHttpHeaders;
  /** Of the RST_STREAM that ended the stream; 0: none, or NO_ERROR. */
  readonly code: number;
  /** Status codes of interim answers. */
  readonly interim: readonly number[];
}

/** A TLS socket inside a tunnel through the gate, h2 agreed on. */
export async function openH2Socket(
  proxy: Proxy,
  ca: string,
  host: string,
  port = 443,
): Promise<tls.TLSSocket> {
  const { peer, reply } = await connect(proxy, `${host}:${port}`);
  if (reply.status !== 200) {
    peer.cut();
    throw new Error(`CONNECT was answered ${reply.status}`);
  }
  peer.socket.removeAllListeners('data');
  const name = net.isIP(host) ? { host } : { servername: host };
  const socket = tls.connect({ socket: peer.socket, ca, ALPNProtocols: ['h2'], ...name });
  await once(socket, 'secureConnect');
  if (socket.alpnProtocol !== 'h2') throw new Error(`ALPN chose ${socket.alpnProtocol}`);
  return socket;
}

/** Node's own HTTP/2 client in a tunnel through the gate. */
export async function openH2(
  proxy: Proxy,
  ca: string,
  host: string,
  options: http2.ClientSessionOptions = {},
): Promise<http2.ClientHttp2Session> {
  const socket = await openH2Socket(proxy, ca, host);
  const session = http2.connect(`https://${host}`, { ...options, createConnection: () => socket });
  session.on('error', () => undefined);
  return session;
}

/** Everything that a stream brings, to its end; never rejects. */
export async function collect(stream: http2.ClientHttp2Stream): Promise<H2Reply> {
  const chunks: Buffer[] = [];
  const interim: number[] = [];
  let headers: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader = {};
  let raw: readonly string[] = [];
  let trailers: http2.IncomingHttpHeaders = {};
  stream.on('headers', head => interim.push(Number(head[':status'])));
  stream.on('response', (head, _flags, fields) => {
    headers = head;
    raw = fields;
  });
  stream.on('trailers', head => (trailers = head));
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  stream.on('error', () => undefined);
  await new Promise(resolve => stream.on('close', resolve));
  const status = headers[':status'] ?? 0;
  return {
    status,
    raw,
    headers,
    body: Buffer.concat(chunks),
    trailers,
    code: stream.rstCode,
    interim,
  };
}

/** One request on a session. */
export function ask(
  session: http2.ClientHttp2Session,
  headers: http2.OutgoingHttpHeaders,
  body?: string | Buffer,
): Promise<H2Reply> {
  const stream = session.request(headers, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
  return collect(stream);
}
