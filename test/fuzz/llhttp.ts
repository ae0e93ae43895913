import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { Duplex } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import type { Reading, Readings } from '../wire/readings.ts';

/** Node's parser as the second opinion: the same messages, read by `node:http`. */

class Pipe extends Duplex {
  override _read(): void {}
  override _write(_chunk: Buffer, _encoding: string, done: () => void): void {
    done();
  }
  setKeepAlive(): void {}
  setTimeout(): void {}
  ref(): void {}
  unref(): void {}
}

let current: Readings;

function startRequest(req: IncomingMessage, res: ServerResponse): void {
  const { method = '', url = '', httpVersionMinor, rawHeaders } = req;
  const keepAlive = (res as unknown as { shouldKeepAlive: boolean }).shouldKeepAlive;
  follow(req, {
    start: [method, url, httpVersionMinor],
    headers: rawHeaders,
    body: '',
    trailers: [],
    state: 'open',
    keepAlive,
  });
}

function follow(incoming: IncomingMessage, message: Reading): void {
  const readings = current;
  readings.messages.push(message);
  incoming.on('data', (chunk: Buffer) => (message.body += chunk.toString('latin1')));
  incoming.on('end', () => {
    if (!incoming.complete) return;
    message.state = 'complete';
    message.trailers = incoming.rawTrailers;
  });
  incoming.on('error', () => (message.state = 'cut'));
}

const server = createServer({ maxHeaderSize: 80_000, requireHostHeader: false, keepAliveTimeout: 0 });
server.maxHeadersCount = 0;
server.timeout = 0;
server.headersTimeout = 0;
server.requestTimeout = 0;
server.on('request', startRequest);
server.on('checkContinue', startRequest);
server.on('checkExpectation', startRequest);
server.on('connect', (req: IncomingMessage, socket: Duplex, head: Buffer) => {
  const { method = '', url = '', httpVersionMinor, rawHeaders } = req;
  current.messages.push({
    start: [method, url, httpVersionMinor],
    headers: rawHeaders,
    body: '',
    trailers: [],
    state: 'complete',
    keepAlive: true,
  });
  current.tunnel = head.toString('latin1');
  socket.on('error', () => {});
});
server.on('clientError', () => (current.state = 'refused'));

export async function llhttpRequests(bytes: Buffer): Promise<Readings> {
  current = { messages: [], state: 'waiting', refusal: null, tunnel: null };
  const readings = current;
  const pipe = new Pipe({ allowHalfOpen: true });
  pipe.on('error', () => {});
  server.emit('connection', pipe);
  pipe.push(bytes);
  await turn();
  await turn();
  pipe.destroy();
  return readings;
}

/** Dials nothing: every request is written to a pipe. */
class PipeAgent extends Agent {
  readonly pipe = new Pipe();
  override createConnection(): Duplex {
    return this.pipe;
  }
}

export async function llhttpResponse(bytes: Buffer, method: string, fin: boolean): Promise<Readings> {
  const readings: Readings = { messages: [], state: 'waiting', refusal: null, tunnel: null };
  current = readings;
  const agent = new PipeAgent({ keepAlive: true });
  const { pipe } = agent;
  const req = request({ method, agent, maxHeaderSize: 80_000 });
  req.maxHeadersCount = 0;
  req.on('information', ({ statusCode, statusMessage, rawHeaders }) => {
    const start = [statusCode, statusMessage];
    readings.messages.push({
      start,
      headers: rawHeaders,
      body: '',
      trailers: [],
      state: 'complete',
      keepAlive: false,
    });
  });
  req.on('response', res => {
    const { statusCode = 0, statusMessage = '', rawHeaders } = res;
    // For HEAD, node:http asks llhttp before it says that there will be no body.
    const keepAlive = method === 'HEAD' || (req as unknown as { shouldKeepAlive: boolean }).shouldKeepAlive;
    follow(res, {
      start: [statusCode, statusMessage],
      headers: rawHeaders,
      body: '',
      trailers: [],
      state: 'open',
      keepAlive,
    });
  });
  req.on('error', () => (readings.state = 'refused'));
  req.on('upgrade', () => (readings.state = 'refused'));
  req.end();
  await turn();
  pipe.push(bytes);
  if (fin) pipe.push(null);
  await turn();
  await turn();
  req.destroy();
  pipe.destroy();
  return readings;
}
