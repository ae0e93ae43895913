import { asRefusal, type Refusal } from '../../src/errors.ts';
import type { RawHeaders, Sink } from '../../src/types.ts';
import { CLIENT_LIMITS, ClientConnection, NONE } from '../../src/wire/client.ts';
import { type Exchange, ServerConnection, WIRE_LIMITS } from '../../src/wire/server.ts';
import { FakeSocket } from './fake-socket.ts';

/** A message as some parser read it, in a form that two parsers can be compared by. */
export interface Reading {
  /** Start line in parts. */
  readonly start: readonly (string | number)[];
  readonly headers: RawHeaders;
  body: string;
  trailers: RawHeaders;
  /** `cut`: the parser refused the rest of it. */
  state: 'open' | 'complete' | 'cut';
  keepAlive: boolean;
}

export interface Readings {
  readonly messages: Reading[];
  /** `refused`: the parser will read no more; `closed`: the last message said so; `waiting`: for more bytes. */
  state: 'waiting' | 'refused' | 'closed';
  refusal: Refusal | null;
  /** Bytes behind a CONNECT. */
  tunnel: string | null;
}

export class BodyOf implements Sink {
  onDrain: (() => void) | null = null;
  readonly #message: Reading;
  constructor(message: Reading) {
    this.#message = message;
  }
  write(chunk: Buffer): boolean {
    this.#message.body += chunk.toString('latin1');
    return true;
  }
  end(trailers: RawHeaders): void {
    this.#message.trailers = trailers;
    this.#message.state = 'complete';
  }
  abort(): void {
    this.#message.state = 'cut';
  }
}

function opened(start: Reading['start'], headers: RawHeaders, keepAlive: boolean): Reading {
  return { start, headers, body: '', trailers: [], state: 'open', keepAlive };
}

/** What our client leg reads from these pieces; each request is answered as soon as it is complete. */
export function readRequests(pieces: readonly Buffer[], connect: boolean): Readings {
  const readings: Readings = { messages: [], state: 'waiting', refusal: null, tunnel: null };
  const socket = new FakeSocket();
  const open: Exchange[] = [];
  const request = (x: Exchange): void => {
    const { method, target, minor, headers, keepAlive } = x.head;
    const message = opened([method, target, minor], headers, keepAlive);
    readings.messages.push(message);
    if (method === 'CONNECT') return void open.push(x);
    x.onAbort = cause => {
      readings.state = 'refused';
      readings.refusal = asRefusal(cause);
    };
    const sink = new BodyOf(message);
    x.body.pipe({
      onDrain: null,
      write: chunk => sink.write(chunk),
      end: trailers => {
        sink.end(trailers);
        if (!keepAlive) readings.state = 'closed';
        x.respond({ status: 204, reason: '', headers: [], length: undefined }).end([]);
      },
      abort: () => sink.abort(),
    });
  };
  const malformed = (x: Exchange, refusal: Refusal): void => {
    readings.state = 'refused';
    readings.refusal = refusal;
    x.respond({ status: refusal.status, reason: '', headers: [], length: 0 }).end([]);
  };
  const handlers = { request, malformed, closed: () => {} };
  const connection = new ServerConnection(socket.asSocket, WIRE_LIMITS, handlers, connect);
  for (const piece of pieces) socket.receive(piece);
  const last = readings.messages.at(-1);
  if (last?.start[0] === 'CONNECT') {
    const early = connection.detach();
    socket.resume();
    socket.on('data', (late: Buffer) => (readings.tunnel += late.toString('latin1')));
    readings.tunnel = early.toString('latin1');
    socket.pump();
    last.state = 'complete';
  }
  return leaving(readings, () => {
    for (const x of open) x.respond({ status: 200, reason: '', headers: [], length: undefined }).end([]);
    socket.destroy();
  });
}

/** What was read until now: the connection's end adds nothing to it. While it stays open, others are read later. */
function leaving(readings: Readings, end: () => void): Readings {
  const now = { ...readings, messages: readings.messages.map(message => ({ ...message })) };
  end();
  return now;
}

/** What our upstream leg reads from these pieces as the answer to one request. `fin`: then the connection ends. */
export function readResponse(pieces: readonly Buffer[], method: string, fin: boolean): Readings {
  const readings: Readings = { messages: [], state: 'waiting', refusal: null, tunnel: null };
  const socket = new FakeSocket();
  let isFree = false;
  const connection = new ClientConnection(socket.asSocket, CLIENT_LIMITS, {
    free: () => (isFree = true),
    closed: () => {},
  });
  const sink = connection.send(`${method} / HTTP/1.1\r\nhost: a\r\n`, method, NONE, {
    informational: head => {
      const message = opened([head.status, head.reason], head.headers, false);
      message.state = 'complete';
      readings.messages.push(message);
    },
    response: (head, body) => {
      const message = opened([head.status, head.reason], head.headers, false);
      readings.messages.push(message);
      body.pipe(new BodyOf(message));
    },
    failed: refusal => {
      readings.state = 'refused';
      readings.refusal = refusal;
    },
  });
  sink.end([]);
  connection.flush();
  for (const piece of pieces) socket.receive(piece);
  const last = readings.messages.at(-1);
  if (last) last.keepAlive = isFree && !socket.destroyed;
  if (fin) socket.fin();
  if (readings.messages.some(m => m.state === 'cut')) readings.state = 'refused';
  return readings;
}
