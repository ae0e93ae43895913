export interface CanonicalPath {
  /** Byte for byte as sent. */
  readonly path: string;
  /** With its leading `?`; empty if there is none. `path + query` is the target. */
  readonly query: string;
}

/** One `/` that no other follows, then visible ASCII without `#` and `\`. */
const PATH = /^\/(?!\/)[!"$-[\]-~]*$/;
const QUERY = /^[!"$-~]*$/;
const BROKEN_ESCAPE = /%(?![0-9a-fA-F]{2})/;
const ESCAPE = /%([0-9a-fA-F]{2})/g;
/**
 * What no reading of a path may hold: a dot segment, also one with parameters (`/..;/`) or before an encoded `?` or
 * `#`; a backslash, a control, a NUL; a leading `//`; an overlong UTF-8 sequence, which spells `.` as C0 AE
 * (RFC 3629, section 10).
 */
const AMBIGUOUS = /\/\.\.?(?=[/;?#]|$)|[\x00-\x1f\x7f\\]|^\/\/|[\xc0\xc1]|\xe0[\x80-\x9f]|\xf0[\x80-\x8f]/;
/** A sign that a lenient server may read a path in another way than its bytes say. */
const HAS_OTHER_READINGS = /[%;]|\/\/|.\/$/;

/**
 * An origin-form target (RFC 9112, section 3.2.1) whose path every server reads alike; undefined if after none, one
 * or two rounds of percent-decoding it could mean another path. Refused, never repaired: what is judged is what is sent.
 * `%2F` stays and never equals `/`. Empty segments inside the path stay and are matched as they are.
 */
export function canonicalPath(target: string): CanonicalPath | undefined {
  const mark = target.indexOf('?');
  const path = mark < 0 ? target : target.slice(0, mark);
  const query = mark < 0 ? '' : target.slice(mark);
  if (!PATH.test(path) || !QUERY.test(query) || BROKEN_ESCAPE.test(path)) return undefined;
  return percentDecodings(path).some(reading => AMBIGUOUS.test(reading)) ? undefined : { path, query };
}

/** One round of percent-decoding to latin1; broken escapes stay. */
export function percentDecode(text: string): string {
  return text.replace(ESCAPE, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** The text, and what one and two rounds of percent-decoding make of it; without repetitions. */
export function percentDecodings(text: string): readonly string[] {
  if (!text.includes('%')) return [text];
  const once = percentDecode(text);
  const twice = percentDecode(once);
  return twice === once ? [text, once] : [text, once, twice];
}

/**
 * The path in every way that a lenient server may read it: percent-decoded up to twice, each also without `;parameters`,
 * with empty segments dropped and without a trailing slash. The path itself comes first.
 */
export function lenientReadings(path: string): readonly string[] {
  if (!HAS_OTHER_READINGS.test(path)) return [path];
  return percentDecodings(path).flatMap(reading => [reading, plainest(reading)]);
}

function plainest(path: string): string {
  const plain = path.replace(/;[^/]*/g, '').replace(/\/{2,}/g, '/');
  return plain.length > 1 && plain.endsWith('/') ? plain.slice(0, -1) : plain;
}
