import { Refusal } from '../errors.ts';
import { Secret } from '../secret.ts';
import type { OutboundBody, OutboundHead, RequestHead, Rule } from '../types.ts';

/** Fields that are not simply forwarded, by lower-case name. */
const SPECIAL = new Map<string, 'hop' | 'connection' | 'range' | 'codings'>([
  // These end at this hop, or the codec writes them anew (RFC 9110, section 7.6.1; RFC 9112, section 6).
  ['connection', 'connection'],
  ['content-length', 'hop'],
  ['http2-settings', 'hop'],
  ['keep-alive', 'hop'],
  ['proxy-authenticate', 'hop'],
  ['proxy-authorization', 'hop'],
  ['proxy-connection', 'hop'],
  ['te', 'hop'],
  ['transfer-encoding', 'hop'],
  ['upgrade', 'hop'],
  // A part of a body, asked for byte by byte, shows a secret that no search can see.
  ['range', 'range'],
  ['if-range', 'range'],
  ['accept-encoding', 'codings'],
]);

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
      const special = SPECIAL.get(name.toLowerCase());
      if (special === undefined || (special === 'range' && keepRange)) headers.push(name, value);
      else if (special === 'codings') headers.push(name, decodable(value));
      else if (special === 'connection') nominated = nominate(value, nominated);
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
  if (value === 'keep-alive' || value === 'close') return before;
  let names = before;
  for (const part of value.toLowerCase().split(',')) {
    const name = part.trim();
    if (name === '' || name === 'close' || isSpecial(name)) continue;
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
