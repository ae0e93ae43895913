import type { Http2Stream } from 'node:http2';

/**
 * Resets a stream in the middle of what is sent on it. Node's own `close` ends the message first, so that what is only
 * its beginning would look whole (RFC 9113, section 8.1), and is reset behind its end.
 */
export function cut(stream: Http2Stream, code: number): void {
  if (stream.destroyed || stream.closed) return;
  const ended = (): Http2Stream => stream;
  stream.end = ended;
  stream.close(code);
}
