import type { Http2Stream } from 'node:http2';
import { asRefusal } from '../../errors.ts';
import type { RawHeaders } from '../../types.ts';
import { IncomingBody } from '../body.ts';
import type { Side } from '../fault.ts';
import { UNTIL_CLOSE } from '../../types.ts';
import { trailersOf } from './head.ts';

interface Limits {
  readonly head: number;
  readonly headers: number;
}

/** The body that a stream brings, with its trailers. Node compares Content-Length. */
export class StreamBody extends IncomingBody {
  readonly #stream: Http2Stream;
  readonly #side: Side;
  readonly #limits: Limits;
  readonly #onBytes: (count: number) => void;
  readonly #onReset: ((cause: Error) => void) | undefined;
  readonly #isWhole: () => boolean;
  #raw: RawHeaders = [];

  /** `onBytes` is told of each chunk; `onReset`, if it is there, instead of the body, that there will be no more. */
  constructor(
    stream: Http2Stream,
    side: Side,
    limits: Limits,
    onBytes: (count: number) => void,
    onReset?: (cause: Error) => void,
  ) {
    super(UNTIL_CLOSE, side, limits, { pause: () => stream.pause(), resume: () => stream.resume() });
    this.#stream = stream;
    this.#side = side;
    this.#limits = limits;
    this.#onBytes = onBytes;
    this.#onReset = onReset;
    this.#isWhole = watchEnd(stream);
    stream.on('trailers', this.#onTrailers);
    stream.on('data', this.#onData);
    stream.on('end', this.#onEnd);
  }

  /** Gives the stream up, paused, for another protocol. Returns the bytes received and not read. */
  release(): Buffer {
    const stream = this.#stream;
    stream.pause();
    stream.off('trailers', this.#onTrailers);
    stream.off('data', this.#onData);
    stream.off('end', this.#onEnd);
    return this.unread();
  }

  readonly #onTrailers = (_headers: unknown, _flags: number, raw: RawHeaders): void => {
    this.#raw = raw;
  };

  readonly #onData = (chunk: Buffer): void => {
    this.#onBytes(chunk.length);
    this.data(chunk);
  };

  readonly #onEnd = (): void => {
    if (!this.#isWhole()) {
      const cause = new Error('the stream was reset');
      return this.#onReset ? this.#onReset(cause) : this.fail(cause);
    }
    try {
      this.end(trailersOf(this.#raw, this.#limits, this.#side));
    } catch (thrown) {
      this.fail(asRefusal(thrown));
    }
  };
}

/**
 * Whether the peer has ended its message. Node ends the reading of a stream that was reset with NO_ERROR, too, as if it
 * were complete; only that it is closed by then tells the two apart.
 */
function watchEnd(stream: Http2Stream): () => boolean {
  let isWhole = false;
  const push = stream.push.bind(stream);
  const watched = (chunk: unknown, encoding?: BufferEncoding): boolean => {
    if (chunk === null && !stream.closed) isWhole = true;
    return push(chunk, encoding);
  };
  stream.push = watched;
  return () => isWhole;
}
