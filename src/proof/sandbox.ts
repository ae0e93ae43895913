import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { frame, messages } from './frames.ts';
import { decoded } from './search.ts';

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

/** What came back. */
export interface Seen {
  /** 0: no answer. */
  readonly status: number;
  /** Of the gate's own refusal. */
  readonly reason: string | undefined;
  /** Every byte, in the order of its coming, and readings of them that a client makes; by place, such as `body`. */
  readonly places: ReadonlyMap<string, Buffer>;
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

/** A client inside the sandbox: sees no more of the world than the gate lets it. */
export class Sandbox {
  readonly #access: Access;

  constructor(access: Access) {
    this.#access = access;
  }

  /** One request over HTTP/1.1, with all bytes that come until the connection ends. */
  async http1(request: Request): Promise<Seen> {
    const socket =
      request.scheme === 'https' ? await this.#secure(request, ['http/1.1']) : await this.#connect();
    return timed(socket, async () => {
      const received: Buffer[] = [];
      socket.on('data', (chunk: Buffer) => received.push(chunk));
      socket.write(this.#render(request));
      await closed(socket);
      return readHttp1(Buffer.concat(received), request.method);
    });
  }

  /** One request over HTTP/2. */
  async http2(request: Request): Promise<Seen> {
    const socket = await this.#secure(request, ['h2']);
    return timed(socket, async () => {
      const session = connectHttp2(`https://${authority(request)}`, { createConnection: () => socket });
      session.on('error', () => {});
      const fields: Record<string, string> = {};
      for (const [name, value] of request.headers) fields[name.toLowerCase()] = value;
      const { method, target, body } = request;
      const stream = session.request(
        {
          ...fields,
          ':method': method,
          ':path': target,
          ':authority': authority(request),
          ':scheme': 'https',
        },
        { endStream: body.length === 0 },
      );
      const places = new Map<string, Buffer>();
      const note = (place: string) => (_: unknown, __: unknown, raw: readonly string[]) =>
        places.set(place, Buffer.from(raw.join('\n'), 'latin1'));
      stream.on('error', () => {});
      stream.on('headers', note('interim answer'));
      stream.on('response', note('headers'));
      stream.on('trailers', note('trailers'));
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      if (body.length > 0) stream.end(body);
      await new Promise<void>(resolve => stream.once('close', resolve));
      session.destroy();
      const head = places.get('headers')?.toString('latin1') ?? '';
      const field = (name: string): string | undefined => new RegExp(`^${name}\n(.*)$`, 'm').exec(head)?.[1];
      return {
        status: Number(field(':status') ?? 0),
        reason: field('stubgate-reason'),
        places: withBody(places, Buffer.concat(chunks), field('content-encoding')),
      };
    });
  }

  /** A handshake, and a message of the client's behind it if there is one; then whatever comes until the close. */
  async webSocket(request: Request, message: Buffer | undefined, answers: number): Promise<Seen> {
    const socket =
      request.scheme === 'https' ? await this.#secure(request, ['http/1.1']) : await this.#connect();
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
        head += chunk.toString('latin1');
        const end = head.indexOf('\r\n\r\n');
        if (end < 0) return;
        isOpen = /^HTTP\/1\.1 101 /.test(head);
        if (!isOpen) return;
        if (message) socket.write(frame(message, { opcode: 1, isFinal: true, isMasked: true }));
        read(Buffer.from(head.slice(end + 4), 'latin1'));
      });
      socket.write(this.#render({ ...request, headers, body: Buffer.alloc(0) }, false));
      await closed(socket);
      const bytes = Buffer.concat(received);
      if (!isOpen) return readHttp1(bytes, request.method);
      return {
        status: 101,
        reason: undefined,
        places: new Map([
          ['wire', bytes],
          ['messages', Buffer.concat(told)],
        ]),
      };
    });
  }

  #render({ scheme, host, port, method, target, headers, body }: Request, closes = true): Buffer {
    const form = scheme === 'http' ? `http://${authority({ scheme, host, port })}${target}` : target;
    const fields = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
    const proxy = scheme === 'http' ? `Proxy-Authorization: ${this.#authorization}\r\n` : '';
    const length = body.length > 0 ? `Content-Length: ${body.length}\r\n` : '';
    const close = closes ? 'Connection: close\r\n' : '';
    const head = `${method} ${form} HTTP/1.1\r\nHost: ${authority({ scheme, host, port })}\r\n${proxy}${fields}${length}${close}\r\n`;
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
    if (!/^HTTP\/1\.1 200 /.test(answer.toString('latin1'))) {
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

function authority({ scheme, host, port }: Pick<Request, 'scheme' | 'host' | 'port'>): string {
  return port === (scheme === 'https' ? 443 : 80) ? bracketed(host) : `${bracketed(host)}:${port}`;
}

function closed(socket: Socket): Promise<void> {
  return new Promise(resolve => socket.once('close', () => resolve()));
}

async function timed<T>(socket: Socket, work: () => Promise<T>): Promise<T> {
  const timer = setTimeout(() => socket.destroy(new Error('timed out')), TIMEOUT_MS);
  try {
    return await work();
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

function readHttp1(bytes: Buffer, method: string): Seen {
  const places = new Map([['wire', bytes]]);
  let text = bytes.toString('latin1');
  while (/^HTTP\/1\.1 1\d\d /.test(text)) text = text.slice(text.indexOf('\r\n\r\n') + 4);
  const end = text.indexOf('\r\n\r\n');
  const head = end < 0 ? text : text.slice(0, end);
  const field = (name: string): string | undefined =>
    new RegExp(`^${name}: *(.*?)\r?$`, 'im').exec(head)?.[1];
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0);
  const rest = end < 0 || method === 'HEAD' ? '' : text.slice(end + 4);
  const body = field('transfer-encoding') === 'chunked' ? withoutChunks(rest) : rest;
  return {
    status,
    reason: field('stubgate-reason'),
    places: withBody(places, Buffer.from(body, 'latin1'), field('content-encoding')),
  };
}

/** Without the lines between the chunks (RFC 9112, section 7.1), as far as they can be read. */
function withoutChunks(text: string): string {
  let body = '';
  for (let at = 0; at < text.length; ) {
    const line = text.indexOf('\r\n', at);
    const size = Number.parseInt(text.slice(at, line), 16);
    if (line < 0 || !(size > 0)) break;
    body += text.slice(line + 2, line + 2 + size);
    at = line + 2 + size + 2;
  }
  return body;
}

function withBody(
  places: Map<string, Buffer>,
  body: Buffer,
  coding: string | undefined,
): Map<string, Buffer> {
  places.set('body', body);
  if (coding !== undefined)
    places.set(
      'decoded body',
      decoded(
        body,
        coding.split(',').map(one => one.trim().replace('x-', '')),
      ),
    );
  return places;
}
