import { Refusal } from '../errors.ts';
import { Secret } from '../secret.ts';
import type { OutboundHead, RequestHead, Rule } from '../types.ts';

/** Fields that end at this hop or that the codec writes anew (RFC 9110, section 7.6.1; RFC 9112, section 6). */
const HOP_BY_HOP = new Set([
  'connection',
  'content-length',
  'http2-settings',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
]);

/** Whether the field (lower case) is never forwarded. */
export function isHopByHop(field: string): boolean {
  return HOP_BY_HOP.has(field);
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

  private constructor(method: string, target: string, headers: string[]) {
    this.method = method;
    this.target = target;
    this.headers = headers;
  }

  /** `target`: origin-form, as it was judged. */
  static from(head: RequestHead, target: string, rule: Rule): Outbound {
    const keepRange = rule.allowRange || rule.injections.length === 0;
    const source = head.headers;
    const headers: string[] = [];
    let nominated: Set<string> | undefined;
    for (let i = 0; i < source.length; i += 2) {
      const name = source[i] as string;
      const value = source[i + 1] as string;
      const field = name.toLowerCase();
      if (field === 'connection') nominated = nominate(value, nominated);
      if (HOP_BY_HOP.has(field)) continue;
      // A part of a body, asked for byte by byte, shows a secret that no search can see.
      if (!keepRange && (field === 'range' || field === 'if-range')) continue;
      headers.push(name, field === 'accept-encoding' ? decodable(value) : value);
    }
    if (nominated) dropNominated(headers, nominated);
    return new Outbound(head.method, target, headers);
  }

  /**
   * Request line and fields, each ended by CRLF; the codec adds framing and the empty line.
   * The one place where a secret becomes text.
   */
  render(): string {
    let text = `${this.method} ${textOf(this.target, PRINTABLE_TARGET)} HTTP/1.1\r\n`;
    const { headers } = this;
    for (let i = 0; i < headers.length; i += 2) {
      text += `${headers[i] as string}: ${textOf(headers[i + 1] as string | Secret, PRINTABLE)}\r\n`;
    }
    return text;
  }
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

/** Field names that a Connection value adds to the hop's own. */
function nominate(value: string, before: Set<string> | undefined): Set<string> | undefined {
  let names = before;
  for (const part of value.toLowerCase().split(',')) {
    const name = part.trim();
    if (name === '' || name === 'close' || HOP_BY_HOP.has(name)) continue;
    if (name === 'host') throw new Refusal('malformed_request', { message: 'Connection names Host' });
    names ??= new Set();
    names.add(name);
  }
  return names;
}

function dropNominated(headers: string[], nominated: ReadonlySet<string>): void {
  let kept = 0;
  for (let i = 0; i < headers.length; i += 2) {
    if (nominated.has((headers[i] as string).toLowerCase())) continue;
    headers[kept++] = headers[i] as string;
    headers[kept++] = headers[i + 1] as string;
  }
  headers.length = kept;
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
