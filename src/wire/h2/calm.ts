import { performance } from 'node:perf_hooks';
import { constants, type Http2Session } from 'node:http2';
import type { Socket } from 'node:net';
import type { Calm } from '../limits.ts';

/** Bytes sent to the peer for each further one: some measure their bandwidth with a PING for what they receive. */
const BYTES_EACH = 512;

/**
 * Ends a connection whose peer sends PING or SETTINGS without end: each makes node:http2 answer and call us. Resets,
 * refused streams, CONTINUATION and frames that are wrong are counted by node:http2 itself.
 */
export function keepCalm(session: Http2Session, socket: Socket, { pings, pingsPerSecond }: Calm): void {
  const since = performance.now();
  let frames = 0;
  const count = (): void => {
    frames++;
    if (frames <= pings) return;
    const earned = ((performance.now() - since) / 1000) * pingsPerSecond + socket.bytesWritten / BYTES_EACH;
    if (frames > pings + earned)
      session.destroy(new Error('too many frames'), constants.NGHTTP2_ENHANCE_YOUR_CALM);
  };
  session.on('ping', count);
  session.on('remoteSettings', count);
}
