import { performance } from 'node:perf_hooks';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isIP, type Socket } from 'node:net';
import * as tls from 'node:tls';
import { LRUCache } from 'lru-cache';
import { Refusal } from '../errors.ts';
import { systemRoots } from '../roots.ts';
import { unreachable } from './tcp.ts';

/** What lets a later connection skip the proof of identity that this one gave. */
interface Resumable {
  readonly session: Buffer;
  /** performance.now() of that proof. */
  readonly provenAt: number;
}

const MAX_SESSIONS = 2000;
/** A certificate that was revoked or has expired must not live on in resumed sessions. */
const PROOF_LIFETIME_MS = 3600_000;
/** Of a connection that broke during the handshake; any other error there is one of TLS itself. */
const NETWORK_ERRORS = new Set([
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENETDOWN',
]);
/** Protocols to offer (RFC 7301), the preferred one first. */
export type Alpn = readonly string[];
const HTTP1_ONLY: Alpn = ['http/1.1'];

let last: { readonly ca: readonly string[]; readonly context: tls.SecureContext } | undefined;

/** The last one again if nothing changed: to read all roots takes some 60 ms, in which nobody is served. */
function contextOf(ca: string[]): tls.SecureContext {
  if (last?.ca.length !== ca.length || !ca.every((pem, i) => pem === last?.ca[i]))
    last = { ca, context: tls.createSecureContext({ ca, minVersion: 'TLSv1.2' }) };
  return last.context;
}

/** The client's end of TLS: one set of trusted roots, and a session per origin to resume. */
export class TlsClient {
  readonly #context: tls.SecureContext;
  readonly #handshakeMs: number;
  readonly #sessions = new LRUCache<string, Resumable>({ max: MAX_SESSIONS });

  /** `caFiles`: PEM, added to the system's roots. Throws an Error that tells the operator what is wrong with one. */
  constructor(caFiles: readonly string[], handshakeMs: number) {
    const ca = [...systemRoots(), ...caFiles.flatMap(readRoots)];
    this.#context = contextOf(ca);
    this.#handshakeMs = handshakeMs;
  }

  /** Resolves once the server has proved to be `host`; until then nothing is sent but the handshake. */
  secure(socket: Socket, host: string, port: number, alpn: Alpn = HTTP1_ONLY): Promise<tls.TLSSocket> {
    const origin = `${host}|${port}`;
    const known = this.#resumable(origin);
    const secured = tls.connect({
      socket,
      host,
      ...(isIP(host) === 0 && { servername: host }), // no IP address in SNI (RFC 6066, section 3)
      ...(known && { session: known.session }),
      secureContext: this.#context,
      // Said outright, because an environment variable can turn the default off.
      rejectUnauthorized: true,
      ALPNProtocols: [...alpn],
    });
    this.#remember(secured, origin, known);
    return established(secured, this.#handshakeMs);
  }

  #resumable(origin: string): Resumable | undefined {
    const known = this.#sessions.get(origin);
    return known && performance.now() - known.provenAt < PROOF_LIFETIME_MS ? known : undefined;
  }

  #remember(secured: tls.TLSSocket, origin: string, known: Resumable | undefined): void {
    let provenAt = performance.now();
    secured.once('secureConnect', () => {
      // A resumed session proves no more than the one it continues.
      if (known && secured.isSessionReused()) provenAt = known.provenAt;
    });
    // Comes only after the server's identity was verified; with TLS 1.3 more than once.
    secured.on('session', session => this.#sessions.set(origin, { session, provenAt }));
  }
}

function established(secured: tls.TLSSocket, ms: number): Promise<tls.TLSSocket> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => secured.destroy(new Refusal('upstream_timeout')), ms);
    // Stays: an alert may come in the same read as the end of the handshake, before the next owner listens.
    secured.on('error', error => {
      clearTimeout(timer);
      reject(refusalOf(error));
    });
    secured.once('secureConnect', () => {
      clearTimeout(timer);
      resolve(secured);
    });
  });
}

function refusalOf(error: Error): Refusal {
  const { code } = error as NodeJS.ErrnoException;
  if (error instanceof Refusal || NETWORK_ERRORS.has(code ?? '')) return unreachable(error);
  return new Refusal('upstream_tls', { cause: error });
}

function readRoots(file: string): string[] {
  try {
    const blocks =
      readFileSync(file, 'utf8').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
    if (blocks.length === 0) throw new Error('it holds no certificate in PEM');
    return blocks.map(block => new X509Certificate(block).toString());
  } catch (cause) {
    throw new Error(`upstream.ca_file ${file} cannot be used: ${(cause as Error).message}`, { cause });
  }
}
