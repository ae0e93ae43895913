import { performance } from 'node:perf_hooks';
import { constants, type Http2Session } from 'node:http2';
import type { Socket } from 'node:net';

/** Frames that a peer may send at once without being asked, and as many again per second. */
const BURST = 1000;
const PER_SECOND = 200;
/** Bytes sent to the peer for each further one: some measure their bandwidth with a PING for what they receive. */
const BYTES_EACH = 512;

/**
 * Ends a connection whose peer sends PING or SETTINGS without end: each makes node:http2 answer and call us. Resets,
 * refused streams, CONTINUATION and frames that are wrong are counted by node:http2 itself.
 */
export function keepCalm(session: Http2Session, socket: Socket): void {
  const since = performance.now();
  let frames = 0;
  const count = (): void => {
    frames++;
    if (frames <= BURST) return;
    const earned = ((performance.now() - since) / 1000) * PER_SECOND + socket.bytesWritten / BYTES_EACH;
    if (frames > BURST + earned)
      session.destroy(new Error('too many frames'), constants.NGHTTP2_ENHANCE_YOUR_CALM);
  };
  session.on('ping', count);
  session.on('remoteSettings', count);
}
