import { Refusal } from '../errors.ts';
import { fieldLines, get, HOP_BY_HOP_NAMES, isNamed, Names } from '../fields.ts';
import { Secret } from '../secret.ts';
import type { OutboundBody, OutboundHead, RequestHead, Rule } from '../types.ts';

/** These end at this hop, or the codec writes them anew (RFC 9110, section 7.6.1; RFC 9112, section 6). */
const HOP = [...HOP_BY_HOP_NAMES, 'content-length'];
/** Without it, gRPC messages come uncompressed: each is compressed on its own, where no search sees it. */
const GRPC_CODINGS = 'grpc-accept-encoding';
/** A part of a body, asked for byte by byte, shows a secret that no search can see. */
const RANGE = ['range', 'if-range'];
/** Fields that are not simply forwarded. */
const SPECIAL = new Names(...HOP, ...RANGE, 'accept-encoding', GRPC_CODINGS);

/** Whether the gate itself drops or rewrites the field (lower case). */
export function isSpecial(field: string): boolean {
  return SPECIAL.has(field);
}

/** What the gate can decode, and therefore search. */
const CODING = /^(?:gzip|deflate|br|zstd|identity)(?:\s*;|$)/i;
const ALL_CODINGS = /^(?:(?:gzip|deflate|br|zstd|identity)(?:;q=[01](?:\.\d{1,3})?)?(?:, ?(?!$)|$))+$/i;

/** Printable ASCII: neither a control, nor a character that latin1 would turn into one. */
const PRINTABLE = /^[\x20-\x7e]*$/;
const PRINTABLE_TARGET = /^[\x21-\x7e]*$/;

/** A request head on its way out: the client's own fields, in its case and order, without those of the hop. */
export class Outbound implements OutboundHead {
  readonly method: string;
  target: string | Secret;
  readonly headers: (string | Secret)[];
  body: OutboundBody | undefined = undefined;

  readonly source: RequestHead;
  readonly originForm: string;
  readonly capturesKeys: boolean;

  private constructor(source: RequestHead, target: string, headers: string[], capturesKeys: boolean) {
    this.capturesKeys = capturesKeys;
    this.method = source.method;
    this.target = target;
    this.originForm = target;
    this.headers = headers;
    this.source = source;
  }

  /** `target`: origin-form, as it was judged. */
  static from(head: RequestHead, target: string, rule: Rule): Outbound {
    const keepRange = rule.allowRange || (rule.injections.length === 0 && !rule.captures);
    const source = head.headers;
    const headers: string[] = [];
    for (let i = 0; i < source.length; i += 2) {
      const name = source[i] as string;
      const value = source[i + 1] as string;
      const special = SPECIAL.find(name);
      if (special === undefined || (keepRange && RANGE.includes(special))) headers.push(name, value);
      else if (special === 'accept-encoding') headers.push(name, decodable(value));
    }
    const capturesKeys = rule.captures?.some(({ place }) => place.type === 'sts') ?? false;
    return new Outbound(head, target, headers, capturesKeys);
  }

  /**
   * Request line and fields, each ended by CRLF; the codec adds framing and the empty line.
   * With `fields`, the one place where a secret becomes text.
   */
  render(): string {
    const source = this.source;
    const headers = this.headers.map(part => (typeof part === 'string' ? part : textOf(part, PRINTABLE)));
    // The line as it came says the same, and is one piece with what follows it.
    if (this.target === source.target && source.minor === 1) return fieldLines(headers, source, true);
    const line = `${this.method} ${textOf(this.target, PRINTABLE_TARGET)} HTTP/1.1\r\n`;
    return line + fieldLines(headers, source);
  }

  /** The same for HTTP/2. */
  fields(): OutboundFields {
    const headers: string[] = [];
    const sensitive = typeof this.target === 'string' ? [] : [':path'];
    let authority = '';
    for (let i = 0; i < this.headers.length; i += 2) {
      const name = this.headers[i] as string;
      const part = this.headers[i + 1] as string | Secret;
      const value = textOf(part, PRINTABLE);
      if (typeof part !== 'string') sensitive.push(name);
      if (isNamed(name, 'host')) authority = value;
      else headers.push(name, value);
    }
    // gRPC needs to know that trailers pass (RFC 9110, section 10.1.4).
    if (get(this.source.headers, 'te')?.toLowerCase() === 'trailers') headers.push('te', 'trailers');
    return {
      method: this.method,
      authority,
      path: textOf(this.target, PRINTABLE_TARGET),
      headers,
      sensitive,
    };
  }
}

/** A head in HTTP/2's terms (RFC 9113, section 8.3.1). */
export interface OutboundFields {
  readonly method: string;
  readonly authority: string;
  readonly path: string;
  /** name, value, …; no Host. */
  readonly headers: string[];
  /** Names, `:path` too, of what holds a credential. */
  readonly sensitive: string[];
}

function textOf(part: string | Secret, allowed: RegExp): string {
  if (typeof part === 'string') return part;
  const text = part.reveal();
  if (allowed.test(text)) return text;
  throw new Refusal('credential_unavailable', {
    cause: new Error(
      `credential "${part.name}" holds a control or a character outside ASCII, which cannot stand in a request head: store it again`,
    ),
  });
}

/** An Accept-Encoding value without the codings that the gate cannot decode. */
function decodable(value: string): string {
  if (ALL_CODINGS.test(value)) return value;
  const kept = value
    .split(',')
    .map(part => part.trim())
    .filter(part => CODING.test(part));
  return kept.length > 0 ? kept.join(', ') : 'identity';
}
