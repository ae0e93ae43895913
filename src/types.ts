import type { Capture, Captured } from './captured.ts';
import type { Reason, Refusal } from './errors.ts';
import type { Secret, Subject } from './secret.ts';

// ---- who and what ----------------------------------------------------------------------------------------------

/** A host in its one comparable form: lower case, IDNA to ASCII, no trailing dot, IP literals strict and unbracketed. */
export type CanonicalHost = string & { readonly __brand: 'CanonicalHost' };

/** On whose behalf a connection speaks; settled once per connection. */
export interface Principal {
  readonly session: string;
  readonly profile: string;
  readonly sub?: string;
  readonly act?: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Only if its profile exchanges it, and until soon after the session's end. */
  readonly subject?: Subject | undefined;
}

/** What is asked for. `method` and `path` are absent at CONNECT: a partial question. */
export interface Target {
  readonly scheme: 'http' | 'https';
  readonly host: CanonicalHost;
  readonly port: number;
  readonly method?: string;
  /** Canonical path without the query, byte for byte as it will be sent. */
  readonly path?: string;
}

/** One sandbox run. `revokedAt` changes in place, so that a holder sees a revocation at once. Times: ms since the epoch. */
export interface Session extends Principal {
  readonly createdAt: number;
  readonly expiresAt: number;
  revokedAt?: number;
  /** Lower-case hex SHA-256 of the proxy token, which is not kept; or what stands for the credential that opened it. */
  readonly tokenHash: string;
  /** A credential of somebody else's opened it, and could again: a revocation is remembered until it expires. */
  readonly isOpened?: true;
  /** Credential name → the session's stub for it. */
  readonly stubs: ReadonlyMap<string, string>;
  subject?: Subject | undefined;
  /** What answers handed out to it; set with the first of them, and forgotten soon after the session's end. */
  captured?: Captured | undefined;
}

// ---- the rule table --------------------------------------------------------------------------------------------

export interface Injection {
  /** Name in `credentials`. */
  readonly credential: string;
  readonly placement: Placement;
  readonly when: 'stub' | 'always';
  readonly required: boolean;
  readonly foreign: 'refuse' | 'pass';
}

export interface Rule {
  readonly name: string;
  readonly action: 'allow' | 'deny' | 'tunnel';
  /** Whether a complete or partial question falls under this row. A partial one never matches a row that names a method or a path. */
  matches(target: Target): boolean;
  readonly injections: readonly Injection[];
  /** Not empty if it is there. */
  readonly captures?: readonly Capture[];
  readonly allowRange: boolean;
}

/** No empty decision exists. */
export type Decision =
  | { readonly verdict: 'deny'; readonly reason: Reason; readonly rule?: Rule }
  | { readonly verdict: 'allow'; readonly rule: Rule };

/** What happens to a tunnel before its requests are known. */
export type Admission =
  | { readonly verdict: 'intercept' }
  | { readonly verdict: 'tunnel'; readonly rule: Rule }
  | { readonly verdict: 'deny'; readonly reason: Reason; readonly rule?: Rule };

// ---- secrets ---------------------------------------------------------------------------------------------------

/** `<vault>:<id>[?version=V][#json-field]` */
export interface SecretRef {
  readonly vault: string;
  readonly id: string;
  readonly version?: string;
  readonly field?: string;
}

/** Extension point one: where secrets live. */
export interface Vault {
  /**
   * Throws VaultError when there is no such secret, or none can be had now. Never puts a value into an error.
   * `refused`: version of the value that an upstream has just refused; a vault that makes values makes another one.
   */
  read(ref: SecretRef, signal: AbortSignal, refused?: string): Promise<Secret>;
  /** Variables of the gate that it reads besides those that a ref names: no sandbox may inherit them. */
  readonly variables?: readonly string[];
  /** Whether that id's value is made when it is read, and costs something as long as it lives. */
  isLeased?(id: string): boolean;
  /** Called once, before the first read. */
  watch?(watcher: VaultWatcher): void;
  /** No session may use that id's value any more. Rejects with VaultError if it could not be given back. */
  release?(id: string, signal: AbortSignal): Promise<void>;
  /** Gives back what it was given, leases and logins. Rejects with VaultError if something could not be. */
  close?(signal: AbortSignal): Promise<void>;
}

/** What a vault tells by itself. */
export interface VaultWatcher {
  /** The values of that id that were read are good no longer. */
  changed(id: string): void;
  /** For the operator; no secret stands in it. */
  warn(error: VaultError): void;
}

/** Why a vault gave no secret. `message` is for the operator and names what to do; it never reaches the sandbox. */
export class VaultError extends Error {
  /** `missing`: no such secret, asking again will not help; `unavailable`: the vault cannot answer now. */
  readonly kind: 'missing' | 'unavailable';

  constructor(kind: 'missing' | 'unavailable', message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'VaultError';
    this.kind = kind;
  }
}

/** A request head on its way out. Field values and the target become `Secret` where a credential was placed. */
export interface OutboundHead {
  readonly method: string;
  /** Origin-form (RFC 9112, section 3.2.1). */
  target: string | Secret;
  /** name, value, name, value, … in wire order and case. */
  readonly headers: (string | Secret)[];
  /** Only if the rule places a credential in it, or a signature covers it. */
  body: OutboundBody | undefined;
  /** What it is made of: as the client sent it, and its target in origin-form. */
  readonly source: RequestHead;
  readonly originForm: string;
  /** The keys that AWS hands out in the answer are captured. */
  readonly capturesKeys: boolean;
}

/** What a placement can read of a body. */
export type BodyKind = 'json' | 'form';

/** A request body that was received whole; valid UTF-8, but for one that is only signed. */
export interface OutboundBody {
  readonly kind: BodyKind | 'signed';
  /** A `Secret` once a credential was placed: latin1 text, so that every byte is kept. */
  content: Buffer | Secret;
}

/** Where a credential was written. */
export interface Placed {
  /** Such as `header authorization`; safe to log. */
  readonly at: string;
  /** The exact text sent, to be scrubbed. */
  readonly wire: Secret;
  /** What the body goes through on its way, if it is not received whole: keeps its length. */
  readonly upload?: BodyStage;
}

/** A stage before `next`. Calls `refuse` at most once, and forwards nothing after that. */
export type BodyStage = (next: Sink, refuse: (refusal: Refusal) => void) => Sink;

/** Extension point two: how a credential goes on the wire. */
export interface Placement {
  readonly type: string;
  /** Two injections with one slot compete for the same place, such as `header authorization`. Safe to log. */
  readonly slot: string;
  /** The place is in a body of that kind, which is received whole up to `limit` bytes. Absent: it is in the head. */
  readonly body?: { readonly kind: BodyKind; readonly limit: number };
  /**
   * The texts that stand at the place, decoded, any of which may be the stub; empty: nothing stands there; undefined:
   * the request has no such place. Throws BodyFault for a body that cannot be read, or not in one way only.
   */
  find(out: OutboundHead): readonly string[] | undefined;
  /** Writes the credential in the place of `stub`, or at the place if there was no stub. */
  inject(out: OutboundHead, stub: string | undefined, secret: Secret): Placed;
  /** What stands on the wire where an encoding hides the secret: the base64 of `Basic`. Absent: the secret itself. */
  wires?(secret: Secret): readonly Secret[];
  /** The path without what stands at the place, for the audit. Absent: the place is not in the path. */
  redact?(path: string, stubs: StubCount): string;
}

/** Counts the stubs in a latin1 text. */
export interface StubCount {
  count(text: string): number;
}

// ---- messages --------------------------------------------------------------------------------------------------

/** name, value, name, value, … in wire order and case; latin1, so that every byte is kept. */
export type RawHeaders = readonly string[];

/** Body length when it is told by chunks, not by a number (RFC 9112, section 7.1). */
export const CHUNKED = -1;
/** Body length when the body ends with the connection (responses only; RFC 9112, section 6.3). */
export const UNTIL_CLOSE = -2;

/** A head as it was received. */
export interface FieldSource {
  /** latin1, without the final empty line. */
  readonly text: string;
  readonly headers: RawHeaders;
  /** Offsets in `text` where each field line starts, and where the last one ends. */
  readonly starts: readonly number[];
}

export interface RequestHead extends FieldSource {
  readonly method: string;
  /** As sent: origin-form, absolute-form, authority-form (CONNECT) or `*`. */
  readonly target: string;
  /** HTTP/1.`minor`. */
  readonly minor: 0 | 1;
  /** Body bytes: ≥ 0, or CHUNKED. */
  readonly length: number;
  /** `Expect: 100-continue` */
  readonly expectContinue: boolean;
  /** The connection may carry another request after this one. */
  readonly keepAlive: boolean;
  /** The head's bytes exactly as received, final empty line included. */
  readonly bytes: Buffer;
}

export interface ResponseHead extends FieldSource {
  readonly status: number;
  /** Status text; may be empty. */
  readonly reason: string;
  /** Body bytes: ≥ 0, CHUNKED or UNTIL_CLOSE. 0 where the status or the request's method forbids a body. */
  readonly length: number;
  /** The head's bytes exactly as received. */
  readonly bytes: Buffer;
}

/**
 * Where a message body goes, in order. Push, not pull; a stage of the way implements it and holds the next one.
 * After `end` or `abort` nothing more is called.
 */
export interface Sink {
  /** False asks the writer to stop until `onDrain` is called. */
  write(chunk: Buffer): boolean;
  end(trailers: RawHeaders): void;
  /** The body will not complete; whoever reads it must be able to tell (RFC 9112, section 8). */
  abort(cause: Error): void;
  /** Set by the writer. */
  onDrain: (() => void) | null;
}

/** Where a message body comes from. */
export interface Source {
  /** Starts the flow, once. Bytes that are already here are delivered before it returns. Sets `sink.onDrain`. */
  pipe(sink: Sink): void;
  /** Instead of `pipe`: the whole body, if all of it is here already and no trailers follow it. */
  take(): Buffer | undefined;
}

// ---- audit -----------------------------------------------------------------------------------------------------

/** One line of the audit (contract, section 5), without `prev`. Never a secret, never a stub's full text. */
export interface AuditEvent {
  /** RFC 3339, UTC, ms. */
  time: string;
  request_id: string;
  session: string | null;
  sub: string | null;
  act: string | null;
  labels: Readonly<Record<string, string>>;
  rule: string | null;
  verdict: 'allow' | 'deny' | 'tunnel';
  reason: Reason | null;
  scheme: 'http' | 'https' | null;
  host: string | null;
  port: number | null;
  method: string | null;
  /** Without the query. */
  path: string | null;
  /** What the sandbox was answered; 0 if it was gone before. */
  status: number;
  /** `stale`: older than its time, as its vault could not be reached (`stale_for`). */
  injected: readonly { credential: string; placement: string; version: string | null; stale?: true }[];
  /** What the response handed out, and the sandbox has a stub for; absent: nothing. */
  captured?: readonly { readonly credential: string; readonly at: string }[];
  /** Secrets removed from the response. */
  scrubbed: number;
  /** Stubs seen in the request, wherever they stood. */
  stubs_seen: number;
  bytes_in: number;
  bytes_out: number;
  duration_ms: number;
  /** To the first byte of the upstream's answer; null if there was none. */
  ttfb_ms: number | null;
  trace_id: string | null;
}

export type { Log } from './log.ts';
export type * from './captured.ts';
export { BodyFault } from './errors.ts';
