// A process of its own: the least that a proxy on node:http2 can do. CONNECT, TLS, one header replaced, streams piped.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect, createSecureServer, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { Agent, request } from 'node:https';
import type { Settings } from './node-http2.ts';

const { port, originPort, host, cert, key, originCa, authorization, upstream } = JSON.parse(
  process.argv[2] ?? '',
) as Settings;
const ca = readFileSync(originCa);
const address = `127.0.0.1:${originPort}`;

/** To an origin that speaks HTTP/2: all streams on one session. */
function overHttp2(): (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, hasBody: boolean) => void {
  const session = connect(`https://${address}`, { ca, servername: host });
  return (stream, headers, hasBody) => {
    const ask = session.request({ ...headers, authorization }, { endStream: !hasBody });
    if (hasBody) stream.pipe(ask);
    ask.on('response', answer => {
      stream.respond(answer);
      ask.pipe(stream);
    });
    ask.on('error', () => stream.close());
  };
}

/** To an origin that does not: connections that are kept. */
function overHttp1(): (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, hasBody: boolean) => void {
  const agent = new Agent({ keepAlive: true, ca, servername: host });
  return (stream, headers, hasBody) => {
    const { ':method': method, ':path': path, ':authority': authority, ':scheme': _, ...fields } = headers;
    const ask = request({
      agent,
      host: '127.0.0.1',
      port: originPort,
      method: method as string,
      path: path as string,
      headers: { host: authority as string, ...fields, authorization },
    });
    if (hasBody) stream.pipe(ask);
    else ask.end();
    ask.on('response', answer => {
      const { connection: _c, 'keep-alive': _k, 'transfer-encoding': _t, ...rest } = answer.headers;
      stream.respond({ ':status': answer.statusCode, ...rest });
      answer.pipe(stream);
    });
    ask.on('error', () => stream.close());
  };
}

const forward = upstream === 'h2' ? overHttp2() : overHttp1();
const http2 = createSecureServer({ cert: readFileSync(cert), key: readFileSync(key) });
http2.on('stream', (stream: ServerHttp2Stream, headers) => {
  stream.on('error', () => {});
  forward(stream, headers, !stream.endAfterHeaders);
});
const proxy = createServer();
proxy.on('connect', (_request, socket) => {
  socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
  http2.emit('connection', socket);
});
proxy.listen(port, '127.0.0.1');
