import type { Http2Stream } from 'node:http2';

/** Who writes to a stream. */
interface Writing {
  readonly onDrain: (() => void) | null;
}

/** Writes a piece of a body; false asks to wait for `onDrain`. Most messages never do, so that nobody listens before. */
export function writeTo(stream: Http2Stream, chunk: Buffer, writer: Writing): boolean {
  const wantsMore = stream.write(chunk);
  if (!wantsMore && stream.listenerCount('drain') === 0) stream.once('drain', () => writer.onDrain?.());
  return wantsMore;
}
