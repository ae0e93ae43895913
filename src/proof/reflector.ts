import { Buffer } from 'node:buffer';
import { hash, randomUUID } from 'node:crypto';
import type { IncomingMessage, Server as HttpServer } from 'node:http';
import { createSecureServer, type ServerHttp2Stream } from 'node:http2';
import { createServer as createSecure, type Server as HttpsServer } from 'node:https';
import {
  type AddressInfo,
  connect,
  createServer as createListener,
  type Server,
  type Socket,
} from 'node:net';
import type { SecureContext } from 'node:tls';
import { createServer } from '../http.ts';
import type { Contexts } from '../intercept/contexts.ts';
import type { CanonicalHost } from '../types.ts';
import { frame, messages } from './frames.ts';
import { type Received, type Reflection, steps } from './reflection.ts';

/** Says which probe a request belongs to; passes the gate like any field of the client's. */
export const PROBE_FIELD = 'stubgate-probe';

/** What to answer a probe with. */
export interface Answering {
  answer(received: Received): Reflection;
  /** Messages, of a WebSocket; each is given to the sandbox in frames of `step` bytes. */
  messages?(
    received: Received,
  ): readonly { readonly data: Buffer; readonly isText: boolean; readonly step: number }[];
}

/** An upstream for every host of a configuration, which shows whoever asks all that it received. */
export class Reflector {
  /** By the id in the request. */
  readonly #probes = new Map<string, { readonly how: Answering; received: Received | undefined }>();
  readonly #sockets = new Set<Socket>();
  readonly #listener: Server;
  /** Servers of the operator's that a tunnel may lead to instead. */
  standIns: readonly { readonly address: string; readonly port: number }[] = [];

  /** `protocol`: the one that it speaks over TLS. */
  constructor(contexts: Contexts, protocol: 'HTTP/1.1' | 'HTTP/2') {
    const SNICallback = (name: string, done: (error: null, context: SecureContext) => void): void =>
      done(null, contexts.get(name as CanonicalHost));
    const secure =
      protocol === 'HTTP/1.1'
        ? createSecure({ SNICallback, ALPNProtocols: ['http/1.1'] })
        : createSecureServer({ SNICallback, allowHTTP1: false });
    const plain = createServer();
    for (const server of protocol === 'HTTP/1.1' ? [secure as HttpsServer, plain] : [plain]) {
      server.on('request', (request: IncomingMessage) => void this.#http1(request));
      server.on('secureConnection', (socket: Socket) => socket.on('error', () => {}));
      server.on('upgrade', (request: IncomingMessage, socket: Socket) => this.#webSocket(request, socket));
    }
    if (protocol === 'HTTP/2')
      secure.on(
        'stream',
        (stream: ServerHttp2Stream, _: unknown, __: number, raw: string[]) => void this.#http2(stream, raw),
      );
    plain.on('connect', ({ url = '' }: IncomingMessage, socket: Socket) =>
      this.#tunnel(url, socket, secure, plain),
    );
    this.#listener = createListener(socket => this.#sort(socket, secure, plain));
  }

  async listen(): Promise<AddressInfo> {
    await new Promise<void>((resolve, reject) => {
      this.#listener.once('error', reject);
      this.#listener.listen(0, '127.0.0.1', resolve);
    });
    return this.#listener.address() as AddressInfo;
  }

  /** The id by which a request asks for it. */
  expect(how: Answering): string {
    const id = randomUUID();
    this.#probes.set(id, { how, received: undefined });
    return id;
  }

  /** What came for a probe, which is then forgotten; undefined: nothing. */
  take(id: string): Received | undefined {
    const probe = this.#probes.get(id);
    this.#probes.delete(id);
    return probe?.received;
  }

  close(): void {
    this.#listener.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  /** TLS begins with a handshake record (RFC 8446, section 5.1). */
  #sort(socket: Socket, secure: { emit(event: string, socket: Socket): boolean }, plain: HttpServer): void {
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => this.#sockets.delete(socket));
    socket.once('data', (first: Buffer) => {
      socket.pause();
      socket.unshift(first);
      const isTls = first[0] === 22;
      (isTls ? secure : plain).emit('connection', socket);
      // TLS takes what was read, and goes on by itself.
      if (!isTls) socket.resume();
    });
  }

  /** As a parent proxy, by which the gate finds it for every host: it is that host, unless another one stands in for it. */
  #tunnel(
    to: string,
    socket: Socket,
    secure: { emit(event: string, socket: Socket): boolean },
    plain: HttpServer,
  ): void {
    const standIn = this.standIns.find(({ address, port }) => to === `${bracketed(address)}:${port}`);
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    if (!standIn) return this.#sort(socket, secure, plain);
    const upstream = connect(standIn.port, standIn.address);
    this.#sockets.add(upstream);
    upstream.once('close', () => socket.destroy());
    socket.once('close', () => upstream.destroy());
    for (const end of [socket, upstream]) end.on('error', () => {});
    socket.pipe(upstream).pipe(socket);
  }

  #answer(received: Received): Reflection {
    const id = received.headers.find(([name]) => name.toLowerCase() === PROBE_FIELD)?.[1] ?? '';
    const probe = this.#probes.get(id);
    if (!probe) return echo(received);
    probe.received = received;
    return probe.how.answer(received);
  }

  async #http1(request: IncomingMessage): Promise<void> {
    const { socket, url = '', rawHeaders } = request;
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const answer = this.#answer({ target: url, headers: paired(rawHeaders), body: Buffer.concat(chunks) });
    await writeHttp1(socket, request.method === 'HEAD', answer);
    if (answer.framing === 'close') socket.end();
  }

  async #http2(stream: ServerHttp2Stream, raw: readonly string[]): Promise<void> {
    stream.on('error', () => {});
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk as Buffer);
    const headers = paired(raw);
    const pseudo = (name: string): string => headers.find(([found]) => found === name)?.[1] ?? '';
    const answer = this.#answer({ target: pseudo(':path'), headers, body: Buffer.concat(chunks) });
    await writeHttp2(stream, pseudo(':method') === 'HEAD', answer);
  }

  /** Answers the handshake, shows in messages what came with it, then echoes what comes, and closes (RFC 6455). */
  #webSocket({ url = '', rawHeaders, headers }: IncomingMessage, socket: Socket): void {
    socket.on('error', () => {});
    const received: Received = { target: url, headers: paired(rawHeaders), body: Buffer.alloc(0) };
    const probe = this.#probes.get(String(headers[PROBE_FIELD]));
    if (!probe?.how.messages) return void socket.destroy();
    probe.received = received;
    const accept = hash(
      'sha1',
      `${headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`,
      'base64',
    );
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    const { how } = probe;
    const show = (of: Received): void => {
      probe.received = of;
      for (const { data, isText, step } of how.messages?.(of) ?? []) {
        [...steps(data, step)].forEach((piece, i, all) =>
          socket.write(frame(piece, { opcode: i > 0 ? 0 : isText ? 1 : 2, isFinal: i === all.length - 1 })),
        );
      }
    };
    const read = messages(({ opcode, data }) => {
      if (opcode === 8) socket.end(frame(data, { opcode: 8, isFinal: true }));
      else show({ ...received, body: data });
    });
    socket.on('data', read);
    show(received);
  }
}

const bracketed = (address: string): string => (address.includes(':') ? `[${address}]` : address);

/** What a program gets that is no probe: JSON, as many an API answers. */
function echo(received: Received): Reflection {
  const { target, headers, body } = received;
  const told = { target, headers: Object.fromEntries(headers), body: body.toString('utf8') };
  return {
    headers: [['content-type', 'application/json']],
    body: Buffer.from(`${JSON.stringify(told, undefined, 2)}\n`),
    framing: 'length',
  };
}

function paired(raw: readonly string[]): (readonly [string, string])[] {
  return Array.from(
    { length: raw.length / 2 },
    (_, i) => [raw[2 * i] as string, raw[2 * i + 1] as string] as const,
  );
}

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));

async function writeHttp1(socket: Socket, isHead: boolean, answer: Reflection): Promise<void> {
  const {
    status = 200,
    reason = 'OK',
    interim,
    headers = [],
    body = Buffer.alloc(0),
    framing = 'chunked',
    trailers = [],
  } = answer;
  const lines = (fields: readonly (readonly [string, string])[]): string =>
    fields.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  if (interim) socket.write(`HTTP/1.1 103 Early Hints\r\n${lines(interim)}\r\n`, 'latin1');
  const isBare = status === 204 || status === 304;
  const how = {
    length: `content-length: ${body.length}\r\n`,
    chunked: isBare ? '' : 'transfer-encoding: chunked\r\n',
    close: 'connection: close\r\n',
  }[framing];
  socket.write(`HTTP/1.1 ${status} ${reason}\r\n${lines(headers)}${how}\r\n`, 'latin1');
  if (isHead || isBare) return;
  for (const piece of steps(body, answer.step)) {
    socket.write(
      framing === 'chunked'
        ? Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n')])
        : piece,
    );
    if (answer.drips) await turn();
  }
  if (framing === 'chunked') socket.write(`0\r\n${lines(trailers)}\r\n`, 'latin1');
}

async function writeHttp2(stream: ServerHttp2Stream, isHead: boolean, answer: Reflection): Promise<void> {
  if (stream.destroyed) return;
  const { status = 200, interim, headers = [], body = Buffer.alloc(0), trailers = [] } = answer;
  if (interim) stream.additionalHeaders({ ':status': 103, ...grouped(interim) });
  const endStream = isHead || status === 204 || status === 304;
  stream.respond(
    { ':status': status, ...grouped(headers) },
    { endStream, waitForTrailers: !endStream && trailers.length > 0 },
  );
  if (endStream) return;
  stream.once('wantTrailers', () => stream.sendTrailers(grouped(trailers)));
  for (const piece of steps(body, answer.step)) {
    stream.write(piece);
    if (answer.drips) await turn();
  }
  stream.end();
}

function grouped(fields: readonly (readonly [string, string])[]): Record<string, string | string[]> {
  const all: Record<string, string | string[]> = {};
  for (const [name, value] of fields) {
    const known = all[name.toLowerCase()];
    all[name.toLowerCase()] = known === undefined ? value : [known, value].flat();
  }
  return all;
}
