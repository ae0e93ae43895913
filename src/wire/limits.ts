/** Bounds of one connection to a client. */
export interface WireLimits {
  /** Bytes of a request head, and of a trailer section. */
  readonly head: number;
  /** Bytes of a request target. */
  readonly uri: number;
  /** Number of fields in a head, and in a trailer section. */
  readonly headers: number;
  /** ms from the first byte of a head to its last. */
  readonly headMs: number;
  /** ms between two requests. */
  readonly idleMs: number;
  /** ms without a byte while one is due, of a request body or of an answer. */
  readonly bodyIdleMs: number;
  readonly http2: Http2Limits;
}

/** Bounds of one connection to a client that speaks HTTP/2. */
export interface Http2Limits extends Calm {
  /** Streams under way. */
  readonly streams: number;
  /** Bytes that a client may send on one stream before somebody reads them. */
  readonly windowBytes: number;
  /** Bytes of heads, and of what waits to be sent. */
  readonly memoryBytes: number;
  /** Streams that a client may reset at once, and per second (CVE-2023-44487). */
  readonly resets: number;
  readonly resetsPerSecond: number;
  /** Frames that are wrong, streams with a head that HTTP/2 forbids among them. */
  readonly invalidFrames: number;
}

/** Bounds of what a peer may send in HTTP/2 without being asked. */
export interface Calm {
  /** PING and SETTINGS frames at once, and per second. */
  readonly pings: number;
  readonly pingsPerSecond: number;
}

/** Bounds of one connection to an upstream. */
export interface ClientLimits {
  /** Bytes of a response head, and of a trailer section. */
  readonly head: number;
  /** Number of fields in a head, and in a trailer section. */
  readonly headers: number;
  /** ms from the request, or the last progress of its body, to the end of the response head. */
  readonly responseMs: number;
  /** ms without a byte while one is due, of a request body or of a response body. */
  readonly bodyIdleMs: number;
}

export const WIRE_LIMITS: WireLimits = {
  head: 32_768,
  uri: 8192,
  headers: 100,
  headMs: 10_000,
  idleMs: 60_000,
  bodyIdleMs: 60_000,
  http2: {
    streams: 100,
    windowBytes: 65_536,
    memoryBytes: 10 * 1024 * 1024,
    resets: 200,
    resetsPerSecond: 50,
    pings: 1000,
    pingsPerSecond: 200,
    invalidFrames: 100,
  },
};

export const CLIENT_LIMITS: ClientLimits = {
  head: 65_536,
  headers: 200,
  responseMs: 300_000,
  bodyIdleMs: 60_000,
};

/** Interim responses to one request (RFC 9110, section 15.2). */
export const MAX_INTERIM = 16;

/** ms that a closed connection is still read, so that the client can read the answer (RFC 9112, section 9.6). */
export const LINGER_MS = 1000;
/** Bytes that are read and dropped in that time; beyond, the rest is left in the kernel. */
export const LINGER_BYTES = 4 * 1024 * 1024;

/** Bytes of a body that wait for its reader before the socket is paused. */
export const UNREAD_BYTES = 65_536;
/**
 * Bytes of a body chunk up to which it is copied to leave in one write with what stands around it. Less than a TLS
 * record holds: copies of those cost more than a second write, and are garbage while a client does not read.
 */
export const COALESCE_BYTES = 12_288;
/** Bytes of a full TLS record (RFC 8446, section 5.1). */
export const RECORD_BYTES = 16_384;
