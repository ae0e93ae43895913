import type { Http2Stream } from 'node:http2';
import { asRefusal } from '../../errors.ts';
import type { RawHeaders } from '../../types.ts';
import { IncomingBody, type Valve } from '../body.ts';
import type { Side } from '../fault.ts';
import { UNTIL_CLOSE } from '../../types.ts';
import { trailersOf } from './head.ts';

interface Limits {
  readonly head: number;
  readonly headers: number;
}

/**
 * The body that a stream brings, with its trailers. `onBytes` is told of each chunk; `onReset`, if it is there, instead of
 * the body, that there will be no more. Node compares Content-Length.
 */
export function incomingBody(
  stream: Http2Stream,
  side: Side,
  limits: Limits,
  onBytes: (count: number) => void,
  onReset?: (cause: Error) => void,
): IncomingBody {
  const valve: Valve = { pause: () => stream.pause(), resume: () => stream.resume() };
  const body = new IncomingBody(UNTIL_CLOSE, side, limits, valve);
  let raw: RawHeaders = [];
  const isWhole = watchEnd(stream);
  stream.on('trailers', (_headers, _flags, received) => (raw = received));
  stream.on('data', (chunk: Buffer) => {
    onBytes(chunk.length);
    body.data(chunk);
  });
  stream.on('end', () => {
    if (!isWhole()) {
      const cause = new Error('the stream was reset');
      return onReset ? onReset(cause) : body.fail(cause);
    }
    try {
      body.end(trailersOf(raw, limits, side));
    } catch (thrown) {
      body.fail(asRefusal(thrown));
    }
  });
  return body;
}

/**
 * Whether the peer has ended its message. Node ends the reading of a stream that was reset with NO_ERROR, too, as if it
 * were complete; only that it is closed by then tells the two apart.
 */
function watchEnd(stream: Http2Stream): () => boolean {
  let isWhole = false;
  const push = stream.push.bind(stream);
  stream.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
    if (chunk === null && !stream.closed) isWhole = true;
    return push(chunk, encoding);
  };
  return () => isWhole;
}
