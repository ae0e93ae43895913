import { createHmac, randomBytes } from 'node:crypto';
import { createSecureContext, type SecureContext } from 'node:tls';
import { LRUCache } from 'lru-cache';
import type { CanonicalHost } from '../types.ts';
import type { Authority } from './ca.ts';
import { pem } from './certificate.ts';
import { type Leaf, LeafMint } from './leaf.ts';

export interface ContextsOptions {
  /** Hosts whose context is kept. */
  readonly max?: number;
  /** Shared by the processes behind one address, so that a client resumes at any of them; 32 bytes or more. */
  readonly ticketSecret?: Buffer;
}

interface Entry {
  readonly context: SecureContext;
  readonly notBefore: number;
  /** When a new leaf is due, well before this one expires. */
  readonly renewAt: number;
}

// Leaves have an ECDSA key; TLS 1.2 only with forward secrecy and AEAD (RFC 9325, section 4.2).
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
].join(':');
// This leg holds stubs, never credentials: a hybrid key exchange would cost each tunnel more than it protects.
const GROUPS = 'X25519:P-256:P-384';
/** Seconds for which a client may resume. */
const TICKET_LIFETIME = 3600;
/** For how long tickets are made with one key; by the clock, so that all processes change it at once. ms */
const TICKET_KEY_MS = 12 * 3_600_000;

/** The server side of TLS for each host, made when first asked for. */
export class Contexts {
  readonly #authority: Authority;
  readonly #mint: LeafMint;
  readonly #entries: LRUCache<CanonicalHost, Entry>;
  readonly #ticketSecret: Buffer;

  constructor(authority: Authority, { max = 2000, ticketSecret = randomBytes(32) }: ContextsOptions = {}) {
    this.#authority = authority;
    this.#mint = new LeafMint(authority);
    this.#entries = new LRUCache({ max });
    this.#ticketSecret = ticketSecret;
  }

  get(host: CanonicalHost, now = Date.now()): SecureContext {
    const cached = this.#entries.get(host);
    if (cached && cached.notBefore <= now && now < cached.renewAt) return cached.context;
    const leaf = this.#mint.mint(host, now);
    const period = Math.floor(now / TICKET_KEY_MS);
    const context = this.#context(host, leaf, period);
    const renewAt = Math.min(now + (leaf.notAfter - now) / 2, (period + 1) * TICKET_KEY_MS);
    this.#entries.set(host, { context, notBefore: leaf.notBefore, renewAt });
    return context;
  }

  #context(host: CanonicalHost, leaf: Leaf, period: number): SecureContext {
    // 48 bytes, which is what a ticket key is. One per host: a session must not move to another name.
    const ticketKeys = createHmac('sha384', this.#ticketSecret).update(`${period} ${host}`).digest();
    return createSecureContext({
      cert: pem(leaf.certificate) + this.#authority.chainPem,
      key: this.#mint.keyPem,
      minVersion: 'TLSv1.2',
      maxVersion: 'TLSv1.3',
      ciphers: CIPHERS,
      honorCipherOrder: true,
      ecdhCurve: GROUPS,
      ticketKeys,
      sessionTimeout: TICKET_LIFETIME,
    });
  }
}
