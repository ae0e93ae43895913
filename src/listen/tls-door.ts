import { constants } from 'node:crypto';
import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import type { Identities } from '../identity/identities.ts';
import { Peer } from '../identity/peer.ts';
import { WatchedFile } from '../identity/watched-file.ts';
import type { Log } from '../types.ts';

/** How often its files are looked at, ms. */
const LOOK_MS = 1000;

export interface TlsDoorOptions {
  /** PEM. */
  readonly certFile: string;
  readonly keyFile: string;
  /** A connection without a certificate of one of the CAs is refused. */
  readonly requiresCertificate: boolean;
  readonly identities: Identities;
  /** Time for the handshake, ms. */
  readonly handshakeMs: number;
  readonly log: Log;
}

/** The server's end of TLS before the proxy: `https://` in HTTPS_PROXY. A client's certificate says who it is. */
export class TlsDoor {
  readonly #options: TlsDoorOptions;
  readonly #onEntered: (socket: TLSSocket, peer: Peer | undefined) => void;
  readonly #cert: WatchedFile<string>;
  readonly #key: WatchedFile<string>;
  /** Those in their handshake, by the client's address. */
  readonly #entering = new Map<string, Socket>();
  readonly #timer: NodeJS.Timeout;
  /** What `#server` is made of. */
  #parts: readonly unknown[] = [];
  /** It never listens: it is handed connections. */
  #server: Server;

  /** Throws an Error for the operator if a file cannot be used. */
  constructor(options: TlsDoorOptions, onEntered: (socket: TLSSocket, peer: Peer | undefined) => void) {
    const { certFile, keyFile, log } = options;
    this.#options = options;
    this.#onEntered = onEntered;
    this.#cert = new WatchedFile(certFile, 'listen.tls.cert_file', pem('CERTIFICATE'), log);
    this.#key = new WatchedFile(keyFile, 'listen.tls.key_file', pem('PRIVATE KEY'), log);
    this.#parts = this.#look();
    this.#server = this.#serverOf(this.#parts);
    this.#timer = setInterval(() => this.#renew(), LOOK_MS).unref();
  }

  enter(socket: Socket): void {
    const address = addressOf(socket);
    this.#entering.set(address, socket);
    socket.on('error', () => {});
    socket.once('close', () => {
      if (this.#entering.get(address) === socket) this.#entering.delete(address);
    });
    this.#server.emit('connection', socket);
  }

  /** Nobody comes in any more, not even who is at it. */
  close(): void {
    clearInterval(this.#timer);
    for (const socket of this.#entering.values()) socket.destroy();
  }

  /** Uses what its files, and the identities, say now. */
  #renew(): void {
    const parts = this.#look();
    if (parts.length === this.#parts.length && parts.every((part, i) => part === this.#parts[i])) return;
    this.#parts = parts;
    try {
      this.#server = this.#serverOf(parts);
    } catch {
      // A certificate may be there before its key.
      this.#options.log.error('listen.tls: certificate and key do not fit; what was good before stays');
    }
  }

  #look(): readonly string[] {
    const now = performance.now();
    const anchors = this.#options.identities.anchors(now).map(anchor => anchor.toString());
    return [this.#cert.value(now), this.#key.value(now), ...anchors];
  }

  #serverOf([cert, key, ...ca]: readonly unknown[]): Server {
    const { requiresCertificate, handshakeMs } = this.#options;
    const server = createServer({
      cert: cert as string,
      key: key as string,
      minVersion: 'TLSv1.2',
      ALPNProtocols: ['http/1.1'],
      handshakeTimeout: handshakeMs,
      // A session that is resumed would not be judged by CAs that changed meanwhile, nor by the time.
      secureOptions: constants.SSL_OP_NO_TICKET,
      requestCert: ca.length > 0,
      rejectUnauthorized: requiresCertificate,
      // Without one the system's would do.
      ...(ca.length > 0 && { ca: ca as string[] }),
    });
    server.on('secureConnection', socket => this.#entered(socket));
    server.on('tlsClientError', (_, socket) => socket.destroy());
    return server;
  }

  #entered(socket: TLSSocket): void {
    this.#entering.delete(addressOf(socket));
    const certificate = socket.authorized ? socket.getPeerX509Certificate() : undefined;
    if (socket.isSessionReused() || (this.#options.requiresCertificate && !certificate)) {
      socket.destroy();
      return;
    }
    this.#onEntered(socket, certificate && new Peer(certificate, this.#options.identities));
  }
}

const addressOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;

const pem =
  (what: string) =>
  (text: string): string => {
    if (!new RegExp(`-----BEGIN [A-Z ]*${what}-----`).test(text))
      throw new Error(`holds no ${what.toLowerCase()}; write a PEM file`);
    return text;
  };
