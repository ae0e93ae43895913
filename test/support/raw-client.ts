import { once } from 'node:events';
import net from 'node:net';
import tls from 'node:tls';
import { type Ended, Peer } from './peer.ts';

/** Where a test client finds a gate, and what it may show it. */
export interface Proxy {
  readonly port: number;
  /** Value of `Proxy-Authorization`; empty: none is sent. */
  readonly authorization: string;
}

export interface Reply {
  readonly status: number;
  readonly reason: string;
  /** Names in lower case, in wire order. */
  readonly headers: readonly (readonly [string, string])[];
  /** Without transfer coding; content coding left as it is. */
  readonly body: Buffer;
  readonly trailers: readonly (readonly [string, string])[];
}

export const header = (reply: Reply, name: string): string | undefined =>
  reply.headers.find(([field]) => field === name)?.[1];

function fields(lines: readonly string[]): [string, string][] {
  return lines.map(line => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
}

function parseHead(head: string): Omit<Reply, 'body' | 'trailers'> {
  const [first = '', ...lines] = head.slice(0, -4).split('\r\n');
  const match = /^HTTP\/1\.[01] (\d{3}) ?(.*)$/.exec(first);
  if (!match) throw new Error(`not a status line: ${JSON.stringify(first)}`);
  return { status: Number(match[1]), reason: match[2] ?? '', headers: fields(lines) };
}

async function readChunked(peer: Peer): Promise<Pick<Reply, 'body' | 'trailers'>> {
  const parts: Buffer[] = [];
  for (;;) {
    const size = Number.parseInt((await peer.until('\r\n')).toString('latin1'), 16);
    if (Number.isNaN(size)) throw new Error('a chunk without a size');
    if (size === 0) break;
    parts.push(Buffer.from(await peer.bytes(size)));
    await peer.until('\r\n');
  }
  const lines: string[] = [];
  for (;;) {
    const line = (await peer.until('\r\n')).toString('latin1').slice(0, -2);
    if (line === '') return { body: Buffer.concat(parts), trailers: fields(lines) };
    lines.push(line);
  }
}

/** Reads one final response, interim ones skipped. A plain reader of its own, so that no test leans on the code under test. */
export async function readReply(peer: Peer, method = 'GET'): Promise<Reply> {
  let head = parseHead(await peer.head());
  while (head.status < 200 && head.status !== 101) head = parseHead(await peer.head());
  const value = (name: string): string | undefined => head.headers.find(([n]) => n === name)?.[1];
  const bodiless = method === 'HEAD' || head.status === 204 || head.status === 304 || head.status === 101;
  const tunnel = method === 'CONNECT' && head.status < 300;
  if (bodiless || tunnel) return { ...head, body: Buffer.alloc(0), trailers: [] };
  if (value('transfer-encoding') !== undefined) return { ...head, ...(await readChunked(peer)) };
  const length = value('content-length');
  if (length !== undefined) {
    return { ...head, body: Buffer.from(await peer.bytes(Number(length))), trailers: [] };
  }
  await peer.end();
  return { ...head, body: Buffer.from(peer.rest), trailers: [] };
}

/** A TCP connection to the gate's proxy listener. */
export async function dial(port: number): Promise<Peer> {
  const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
  const peer = new Peer(socket);
  await once(socket, 'connect');
  return peer;
}

/** The text of a CONNECT with the proxy's credential. */
export function connectHead(proxy: Proxy, authority: string): string {
  const credential = proxy.authorization === '' ? '' : `Proxy-Authorization: ${proxy.authorization}\r\n`;
  return `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${credential}\r\n`;
}

/** Sends CONNECT on a new connection; the answer may be a refusal. */
export async function connect(proxy: Proxy, authority: string): Promise<{ peer: Peer; reply: Reply }> {
  const peer = await dial(proxy.port);
  await peer.send(connectHead(proxy, authority));
  return { peer, reply: await readReply(peer, 'CONNECT') };
}

export interface TlsChoice {
  /** PEM of the gate's CA. */
  ca: string;
  servername: string;
  alpn?: readonly string[];
}

/** TLS inside a tunnel that is already open. */
export async function wrapTls(peer: Peer, choice: TlsChoice): Promise<Peer> {
  const { ca, servername, alpn = ['http/1.1'] } = choice;
  peer.socket.removeAllListeners('data');
  const secure = tls.connect({
    socket: peer.socket,
    ca,
    ALPNProtocols: [...alpn],
    // An IP address is verified, but not sent as SNI (RFC 6066, section 3).
    ...(net.isIP(servername) ? { host: servername } : { servername }),
  });
  const wrapped = new Peer(secure);
  await once(secure, 'secureConnect');
  return wrapped;
}

/** An intercepted tunnel to `host`, ready for requests. */
export async function openTls(proxy: Proxy, ca: string, host: string, port = 443): Promise<Peer> {
  const { peer, reply } = await connect(proxy, `${net.isIPv6(host) ? `[${host}]` : host}:${port}`);
  if (reply.status !== 200) {
    peer.cut();
    throw new Error(`CONNECT was answered ${reply.status}: ${reply.body.toString()}`);
  }
  return wrapTls(peer, { ca, servername: host });
}

export interface Exchange {
  readonly reply: Reply;
  /** Every byte that came out on the sandbox's side, inside TLS. */
  readonly bytes: Buffer;
}

/** One request on a tunnel of its own: `head` is everything but the final empty line. */
export async function request(
  proxy: Proxy,
  ca: string,
  host: string,
  head: string,
  body: string | Buffer = '',
): Promise<Exchange> {
  const peer = await openTls(proxy, ca, host);
  try {
    await peer.send(`${head}\r\n\r\n`);
    if (body.length > 0) await peer.send(body);
    const reply = await readReply(peer, head.slice(0, head.indexOf(' ')));
    return { reply, bytes: peer.received };
  } finally {
    peer.cut();
  }
}

/** Sends bytes as they are on a tunnel of its own, and collects everything until the gate ends it. */
export async function sendRaw(
  proxy: Proxy,
  ca: string,
  host: string,
  bytes: string | Buffer,
  splits: readonly number[] = [],
): Promise<Ended> {
  const peer = await openTls(proxy, ca, host);
  await peer.sendSplit(bytes, splits);
  const ended = await peer.end();
  peer.cut();
  return ended;
}
