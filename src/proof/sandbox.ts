import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { Answer, fieldOf, type Seen, withBody } from './answer.ts';
import { frame, messages } from './frames.ts';

/** A request as a sandbox sends it. */
export interface Request {
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly port: number;
  readonly method: string;
  /** Origin-form (RFC 9112, section 3.2.1). */
  readonly target: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Buffer;
}

export interface Access {
  readonly host: string;
  readonly port: number;
  /** Of the session: `id:token`. */
  readonly userinfo: string;
  /** PEM */
  readonly ca: string;
}

/** ms for an answer to be complete. */
const TIMEOUT_MS = 15_000;
/** Connections that are kept, of each protocol. */
const MAX_IDLE = 12;

/** A client inside the sandbox: sees no more of the world than the gate lets it. */
export class Sandbox {
  readonly #access: Access;
  /** Connections that wait for another request, by where they lead. */
  readonly #idle = new Map<string, Socket[]>();
  /** HTTP/2, by where it leads. */
  readonly #sessions = new Map<string, Promise<ClientHttp2Session>>();

  constructor(access: Access) {
    this.#access = access;
  }

  close(): void {
    for (const socket of [...this.#idle.values()].flat()) socket.destroy();
    for (const session of this.#sessions.values())
      session.then(
        one => one.destroy(),
        () => {},
      );
  }

  /** One request over HTTP/1.1, on a connection that was left open if there is one. */
  async http1(request: Request): Promise<Seen> {
    const key = `${request.scheme}://${authority(request)}`;
    const idle = this.#idle.get(key)?.pop();
    const socket = idle ?? (await this.#open(request));
    const answer = new Answer(request.method);
    await timed(socket, async () => {
      socket.write(this.#render(request));
      await answered(socket, answer);
    });
    // The gate may have closed it meanwhile.
    if (idle && !answer.hasBegun) return this.http1(request);
    if (answer.keepsConnection && !socket.destroyed) this.#keep(key, socket);
    else socket.destroy();
    return answer.seen();
  }

  /** What comes on it now belongs to no answer, and ends it: it is the next one's first bytes, or nobody's. */
  #keep(key: string, socket: Socket): void {
    const kept = this.#idle.get(key) ?? [];
    this.#idle.set(key, kept);
    kept.push(socket);
    const all = [...this.#idle.values()];
    // The rules are tried one after the other: what belongs to the first of them is not needed again.
    if (all.flat().length > MAX_IDLE)
      all
        .find(({ length }) => length > 0)
        ?.shift()
        ?.destroy();
  }

  #open(request: Request): Promise<Socket> {
    return request.scheme === 'https' ? this.#secure(request, ['http/1.1']) : this.#connect();
  }

  /** One request over HTTP/2, on a connection that all of them to a host share. */
  async http2(request: Request): Promise<Seen> {
    const session = await this.#session(request);
    const fields: Record<string, string> = {};
    for (const [name, value] of request.headers) fields[name.toLowerCase()] = value;
    const { method, target, body } = request;
    const stream = session.request(
      { ...fields, ':method': method, ':path': target, ':authority': authority(request), ':scheme': 'https' },
      { endStream: body.length === 0 },
    );
    const places = new Map<string, Buffer>();
    const note = (place: string) => (_: unknown, __: unknown, raw: readonly string[]) =>
      places.set(place, Buffer.from(linesOf(raw), 'latin1'));
    stream.on('error', () => {});
    stream.on('headers', note('interim answer'));
    stream.on('response', note('headers'));
    stream.on('trailers', note('trailers'));
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    if (body.length > 0) stream.end(body);
    await timed(stream, () => closed(stream));
    const head = places.get('headers')?.toString('latin1') ?? '';
    return {
      status: Number(fieldOf(head, ':status') ?? 0),
      reason: fieldOf(head, 'stubgate-reason'),
      places: withBody(places, Buffer.concat(chunks), fieldOf(head, 'content-encoding')),
    };
  }

  #session(request: Request): Promise<ClientHttp2Session> {
    const key = authority(request);
    const known = this.#sessions.get(key);
    if (known) return known;
    const opened = this.#secure(request, ['h2']).then(socket => {
      const session = connectHttp2(`https://${key}`, { createConnection: () => socket });
      session.on('error', () => {});
      const forget = (): void => {
        if (this.#sessions.get(key) === opened) this.#sessions.delete(key);
      };
      session.once('close', forget);
      session.once('goaway', forget);
      return session;
    });
    this.#sessions.set(key, opened);
    const [oldest = key] = this.#sessions.keys();
    if (this.#sessions.size > MAX_IDLE) {
      this.#sessions.get(oldest)?.then(
        one => one.close(),
        () => {},
      );
      this.#sessions.delete(oldest);
    }
    opened.catch(() => this.#sessions.delete(key));
    return opened;
  }

  /** A handshake, and a message of the client's behind it if there is one; then whatever comes until the close. */
  async webSocket(request: Request, message: Buffer | undefined, answers: number): Promise<Seen> {
    const socket = await this.#open(request);
    return timed(socket, async () => {
      const key = randomBytes(16).toString('base64');
      const headers = [
        ...request.headers,
        ['Connection', 'Upgrade'],
        ['Upgrade', 'websocket'],
        ['Sec-WebSocket-Version', '13'],
        ['Sec-WebSocket-Key', key],
      ] as const;
      const received: Buffer[] = [];
      const told: Buffer[] = [];
      const answer = new Answer(request.method);
      let isOpen = false;
      let head = '';
      const read = messages(({ opcode, data }) => {
        told.push(data);
        if (opcode === 8) socket.end();
        else if (told.length === answers)
          socket.write(frame(Buffer.from([0x03, 0xe8]), { opcode: 8, isFinal: true, isMasked: true }));
      });
      socket.on('data', (chunk: Buffer) => {
        received.push(chunk);
        if (isOpen) return read(chunk);
        // A refusal may leave the connection open.
        if (answer.read(chunk) && answer.seen().status !== 101) return void socket.destroy();
        head += chunk.toString('latin1');
        const end = head.indexOf('\r\n\r\n');
        if (end < 0) return;
        isOpen = head.startsWith('HTTP/1.1 101 ');
        if (!isOpen) return;
        if (message) socket.write(frame(message, { opcode: 1, isFinal: true, isMasked: true }));
        read(Buffer.from(head.slice(end + 4), 'latin1'));
      });
      socket.write(this.#render({ ...request, headers, body: Buffer.alloc(0) }));
      await closed(socket);
      const bytes = Buffer.concat(received);
      if (!isOpen) return answer.seen();
      return {
        status: 101,
        reason: undefined,
        places: new Map([
          ['bytes of the connection', bytes],
          ['messages', Buffer.concat(told)],
        ]),
      };
    });
  }

  #render({ scheme, host, port, method, target, headers, body }: Request): Buffer {
    const form = scheme === 'http' ? `http://${authority({ scheme, host, port })}${target}` : target;
    const fields = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
    const proxy = scheme === 'http' ? `Proxy-Authorization: ${this.#authorization}\r\n` : '';
    const length = body.length > 0 ? `Content-Length: ${body.length}\r\n` : '';
    const head = `${method} ${form} HTTP/1.1\r\nHost: ${authority({ scheme, host, port })}\r\n${proxy}${fields}${length}\r\n`;
    return Buffer.concat([Buffer.from(head, 'latin1'), body]);
  }

  get #authorization(): string {
    return `Basic ${Buffer.from(this.#access.userinfo).toString('base64')}`;
  }

  async #connect(): Promise<Socket> {
    const socket = connect(this.#access.port, this.#access.host);
    socket.on('error', () => {});
    await once(socket, 'connect');
    return socket;
  }

  /** A tunnel, and TLS in it. Throws if the gate opens none. */
  async #secure({ host, port }: Request, ALPNProtocols: string[]): Promise<TLSSocket> {
    const socket = await this.#connect();
    const to = `${bracketed(host)}:${port}`;
    socket.write(
      `CONNECT ${to} HTTP/1.1\r\nHost: ${to}\r\nProxy-Authorization: ${this.#authorization}\r\n\r\n`,
    );
    const [answer] = (await once(socket, 'data')) as [Buffer];
    if (!answer.toString('latin1').startsWith('HTTP/1.1 200 ')) {
      socket.destroy();
      throw new Error(`the gate opened no tunnel to ${to}`);
    }
    const isName = !/^[\d.]+$|:/.test(host);
    const secure = connectTls({
      socket,
      ca: this.#access.ca,
      host,
      ALPNProtocols,
      ...(isName && { servername: host }),
    });
    secure.on('error', () => {});
    await once(secure, 'secureConnect');
    return secure;
  }
}

const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host);

export function authority({ scheme, host, port }: Pick<Request, 'scheme' | 'host' | 'port'>): string {
  return port === (scheme === 'https' ? 443 : 80) ? bracketed(host) : `${bracketed(host)}:${port}`;
}

function closed(stream: Duplex): Promise<void> {
  return new Promise(resolve => (stream.closed ? resolve() : stream.once('close', () => resolve())));
}

/** Until the answer is whole, or the connection ends. */
async function answered(socket: Socket, answer: Answer): Promise<void> {
  await new Promise<void>(resolve => {
    const end = (): void => {
      socket.off('data', take).off('close', end).pause();
      resolve();
    };
    const take = (piece: Buffer): void => {
      if (answer.read(piece)) end();
    };
    socket.on('data', take).once('close', end).resume();
    if (socket.closed) end();
  });
}

async function timed<T>(stream: Duplex, work: () => Promise<T>): Promise<T> {
  const timer = setTimeout(() => stream.destroy(new Error('timed out')), TIMEOUT_MS);
  try {
    return await work();
  } finally {
    clearTimeout(timer);
  }
}

function linesOf(raw: readonly string[]): string {
  return Array.from({ length: raw.length / 2 }, (_, i) => `${raw[2 * i]}: ${raw[2 * i + 1]}`).join('\n');
}
