/** A SPIFFE ID (SPIFFE-ID, section 2). */
export interface SpiffeId {
  readonly trustDomain: string;
  /** Segments; a workload has at least one. */
  readonly path: readonly string[];
}

const MAX_BYTES = 2048;
const ID = /^spiffe:\/\/([a-z0-9._-]{1,255})((?:\/[A-Za-z0-9._-]+)+)$/;

/** Undefined for what is not strictly the ID of a workload: with port, user, query, fragment, escapes, dot segments. */
export function parseSpiffeId(text: string): SpiffeId | undefined {
  const [, trustDomain, path] = (text.length <= MAX_BYTES && ID.exec(text)) || [];
  if (trustDomain === undefined || path === undefined) return undefined;
  const segments = path.slice(1).split('/');
  return segments.some(segment => /^\.\.?$/.test(segment)) ? undefined : { trustDomain, path: segments };
}

/** One name, as Node writes it: `DNS:a, URI:"…"`, in quotes where the value could be misread. */
const NAME = /(?:^|(?<!^), )([A-Za-z][A-Za-z ]*):(?:"((?:[^"\\]|\\.)*)"|([^",]*))(?=, |$)/gy;

/** The names of a certificate as [kind, value]; undefined if the text is not all names. */
export function parseAltNames(text: string): (readonly [kind: string, value: string])[] | undefined {
  const found = [...text.matchAll(NAME)];
  if (found.map(([whole]) => whole).join('') !== text) return undefined;
  // What needed quotes is neither a SPIFFE ID nor a DNS name.
  return found.map(([, kind = '', quoted, plain]) => [kind, quoted === undefined ? (plain ?? '') : '']);
}
