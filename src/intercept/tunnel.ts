import type { Socket } from 'node:net';
import { type SecureContext, TLSSocket } from 'node:tls';

export interface InterceptOptions {
  /** Time for the whole handshake, ms. */
  readonly handshakeMs: number;
}

const ALPN = ['h2', 'http/1.1'];
/** Bytes that wait to be sent before the other leg is paused: two pieces of a body, so that one is read meanwhile. */
const WAITING_BYTES = 131_072;

/**
 * The server's end of TLS on a client's socket; bytes that were read too early may have been put back with `unshift`.
 * Rejects, with the socket destroyed, when the handshake fails or takes too long. `servername` is the client's SNI, or
 * false. Nothing is read before the caller listens.
 */
export function interceptTls(
  socket: Socket,
  secureContext: SecureContext,
  { handshakeMs }: InterceptOptions,
): Promise<TLSSocket> {
  const options = { isServer: true, secureContext, ALPNProtocols: ALPN, highWaterMark: WAITING_BYTES };
  const tls = new TLSSocket(socket, options);
  return new Promise((resolve, reject) => {
    let cause: Error | undefined;
    const timer = setTimeout(() => tls.destroy(new Error('the TLS handshake took too long')), handshakeMs);
    // Without a tls.Server the socket reports its errors here, and leaves it to us to act on them.
    tls.on('_tlsError', (error: Error) => {
      cause = error;
      tls.destroy();
    });
    const left = (): void => {
      clearTimeout(timer);
      reject(cause ?? new Error('the client left during the TLS handshake'));
    };
    tls.once('close', left);
    tls.once('secure', () => {
      clearTimeout(timer);
      tls.off('close', left);
      // As a tls.Server does; as long as it is set, node:http2 waits for the handshake.
      Object.assign(tls, { secureConnecting: false });
      resolve(tls);
    });
  });
}
