import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import type { AddressInfo, Server, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { acceptOf, frame, readMessage, TEXT } from '../support/websocket.ts';
import { Peer } from '../support/peer.ts';
import { testCa } from '../support/pki.ts';
import type { Secrets } from './secrets.ts';
import type { Findings } from './windows.ts';

/** Speaks HTTP/1.1, and WebSocket. */
export const H1_HOST = 'one.soak.test';
/** Speaks HTTP/2. */
export const H2_HOST = 'two.soak.test';

/** What a request must carry, by its kind: `alpha` as bearer token, `beta` in the field x-api-key. */
export const NEEDS: Readonly<Record<string, 'alpha' | 'beta' | 'none'>> = { beta: 'beta', plain: 'none' };

export const DOWNLOAD_BYTES = 512 * 1024;
const SECRET_AT = 200_000;
export const EVENTS = 5;

/** The answer to an echo, with `credential` as it arrived; the sandbox must see it with its stub. */
export const echo = (id: string, credential: string): string =>
  `${JSON.stringify({ id, credential, again: [credential, { credential }], pad: 'x'.repeat(Number(id) % 2000) })}\n`;

/** The same for a download. */
export function download(id: string, credential: string): Buffer {
  const all = Buffer.alloc(DOWNLOAD_BYTES, `line of ${id}, nothing else.\n`);
  return Buffer.concat([all.subarray(0, SECRET_AT), Buffer.from(credential), all.subarray(SECRET_AT)]);
}

export const event = (n: number, credential: string): string =>
  `data: ${JSON.stringify({ n, credential })}\n\n`;

type Answer = Pick<ServerResponse, 'writeHead' | 'write' | 'end'> & { readonly stream?: unknown };

/** Both upstreams. They check each credential as its issuer would. */
export class Upstreams {
  readonly #secrets: Secrets;
  readonly #findings: Findings;
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();

  constructor(secrets: Secrets, findings: Findings) {
    this.#secrets = secrets;
    this.#findings = findings;
  }

  /** Host → where it really is. */
  async start(): Promise<Record<string, string>> {
    const ca = await testCa();
    const one = https.createServer({ ...(await ca.issue([H1_HOST])), keepAliveTimeout: 60_000 });
    const two = http2.createSecureServer({ ...(await ca.issue([H2_HOST])) });
    one.on('request', (request, response) => void this.#answer(request, response));
    two.on('request', (request, response) => {
      void this.#answer(request as unknown as IncomingMessage, response as unknown as ServerResponse);
    });
    one.on('upgrade', (request: IncomingMessage, socket: Duplex) => void this.#webSocket(request, socket));
    two.on('sessionError', () => {});
    const places: Record<string, string> = {};
    for (const [host, server] of [
      [H1_HOST, one],
      [H2_HOST, two],
    ] as const) {
      server.on('tlsClientError', () => {});
      server.on('connection', (socket: Socket) => {
        this.#sockets.add(socket);
        socket.on('close', () => this.#sockets.delete(socket));
        socket.on('error', () => {});
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      places[host] = `127.0.0.1:${(server.address() as AddressInfo).port}`;
      this.#servers.push(server);
    }
    return places;
  }

  /** Ends all connections: a gate without load then has none. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.cut();
    for (const server of this.#servers) server.close();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.on('error', () => {});
    response.on('error', () => {});
    const [, , kind = '', id = ''] = (request.url ?? '').split('/');
    const hash = createHash('sha256');
    let length = 0;
    try {
      for await (const chunk of request as AsyncIterable<Buffer>) {
        hash.update(chunk);
        length += chunk.length;
      }
    } catch {
      return; // It was left.
    }
    const credential = this.#credential(kind, request);
    if (credential === undefined) {
      response.writeHead(401, { 'content-type': 'text/plain' });
      response.end(id);
      return;
    }
    if (kind === 'upload')
      return void response.end(JSON.stringify({ id, length, sha256: hash.digest('hex') }));
    await reply(kind, id, credential, response);
  }

  /** As it arrived; undefined if it is an old one. */
  #credential(kind: string, { headers }: IncomingMessage): string | undefined {
    const needs = NEEDS[kind] ?? 'alpha';
    if (needs === 'none') return '';
    const text = needs === 'beta' ? String(headers['x-api-key']) : String(headers['authorization']);
    const value = text.replace(/^Bearer /, '');
    const verdict = this.#secrets.judge(needs, value);
    if (verdict === 'unknown') this.#findings.add(`an upstream got another credential (${kind})`, text);
    return verdict === 'old' ? undefined : text;
  }

  async #webSocket(request: IncomingMessage, socket: Duplex): Promise<void> {
    socket.on('error', () => {});
    const credential = this.#credential('ws', request);
    if (credential === undefined) {
      socket.end('HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n');
      return;
    }
    const accept = acceptOf(String(request.headers['sec-websocket-key']));
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`,
    );
    const peer = new Peer(socket as Socket);
    try {
      for (;;) {
        const { opcode, data } = await readMessage(peer);
        await peer.send(frame(opcode, data.toString() === 'credential' ? credential : data));
        if (opcode !== TEXT) return peer.finish();
      }
    } catch {
      peer.cut();
    }
  }
}

async function reply(kind: string, id: string, credential: string, response: Answer): Promise<void> {
  const type = { 'content-type': 'text/plain' };
  switch (kind) {
    case 'gzip':
      response.writeHead(200, { ...type, 'content-encoding': 'gzip' });
      response.end(gzipSync(echo(id, credential)));
      return;
    case 'download':
      response.writeHead(200, type);
      response.end(download(id, credential));
      return;
    case 'events':
      return events(credential, response);
    case 'cut':
      response.writeHead(200, { ...type, 'content-length': 1000 });
      response.write('x'.repeat(500));
      await delay(20);
      (response as unknown as { stream?: Duplex; socket: Duplex }).stream?.destroy();
      (response as unknown as { socket: Duplex }).socket.destroy();
      return;
    default:
      response.writeHead(200, { ...type, 'x-credential': credential });
      response.end(echo(id, credential));
  }
}

/** Each event in two writes that part the credential. */
async function events(credential: string, response: Answer): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  for (let n = 0; n < EVENTS; n++) {
    const text = event(n, credential);
    response.write(text.slice(0, 35));
    await delay(15);
    response.write(text.slice(35));
  }
  response.end();
}
