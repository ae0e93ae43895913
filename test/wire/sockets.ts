import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import type { Refusal } from '../../src/errors.ts';
import type { RawHeaders, Sink } from '../../src/types.ts';
import { type Exchange, ServerConnection, type ServerHandlers, WIRE_LIMITS } from '../../src/wire/server.ts';

/** A listener on loopback whose connections are ours. */
export class Listener {
  readonly connections: ServerConnection[] = [];
  readonly sockets: Socket[] = [];
  readonly #server: Server;

  private constructor(handlers: Partial<ServerHandlers>, connect: boolean) {
    this.#server = createServer(socket => {
      this.sockets.push(socket);
      const all = { request: ok, malformed: refuse, closed: () => {}, ...handlers };
      this.connections.push(new ServerConnection(socket, WIRE_LIMITS, all, connect));
    });
  }

  static async open(handlers: Partial<ServerHandlers> = {}, connect = false): Promise<Listener> {
    const listener = new Listener(handlers, connect);
    listener.#server.listen(0, '127.0.0.1');
    await once(listener.#server, 'listening');
    return listener;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.sockets) socket.destroy();
  }
}

/** Answers with what was asked for. */
export function ok(x: Exchange): void {
  collect(x).then(
    body => reply(x, `${x.head.method} ${x.head.target} ${body}`),
    () => {},
  );
}

export function refuse(x: Exchange, refusal: Refusal): void {
  reply(x, refusal.message, refusal.status);
}

export function reply(x: Exchange, text: string, status = 200, headers: RawHeaders = []): void {
  const sink = x.respond({ status, reason: 'R', headers, length: text.length });
  sink.write(Buffer.from(text));
  sink.end([]);
}

export function collect(x: Exchange): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const sink: Sink = {
      onDrain: null,
      write: chunk => {
        text += chunk.toString('latin1');
        return true;
      },
      end: trailers => resolve(text + trailers.join()),
      abort: reject,
    };
    x.body.pipe(sink);
  });
}

/** A client that speaks bytes. */
export class Talk {
  readonly socket: Socket;
  text = '';

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1');
    this.socket.setNoDelay(true);
    this.socket.on('data', chunk => (this.text += chunk.toString('latin1')));
    this.socket.on('error', () => {});
  }

  send(text: string | Buffer): void {
    this.socket.write(text, 'latin1');
  }

  /** What came so far, once it ends with `end`. */
  async until(end: string): Promise<string> {
    while (!this.text.endsWith(end)) await once(this.socket, 'data');
    return this.text;
  }

  /** All that came, once the other side closed. */
  async closed(): Promise<string> {
    if (!this.socket.closed) await once(this.socket, 'close');
    return this.text;
  }
}
