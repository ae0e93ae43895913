/** Paths of one origin that were asked for, and how often. */
export type PathCounts = ReadonlyMap<string, number>;

/** So many names at one place of otherwise equal paths are taken for names that vary. */
const VARYING = 5;
/** Segments below which all is put together: nobody writes a rule for more. */
const MAX_DEPTH = 12;
/** Globs of one rule beyond which what is below a common folder is put together. */
const MAX_GLOBS = 24;

/**
 * Globs that cover the paths, by path. In turn: a segment that looks like an id becomes `*`; where at least VARYING paths
 * differ in one segment alone, that segment becomes `*`; and while there are more than MAX_GLOBS, the longest folders
 * become `/**`.
 */
export function globsOf(paths: readonly string[]): Map<string, string> {
  let globs = new Map(
    paths.map(path => [path, foldedTo(path.split('/').map(withoutId).join('/'), MAX_DEPTH)]),
  );
  globs = applied(globs, varyingSegments([...new Set(globs.values())]));
  for (let depth = deepest(globs.values()); depth > 1 && new Set(globs.values()).size > MAX_GLOBS; depth--) {
    const folded = [...globs].map(([path, glob]) => [path, foldedTo(glob, depth)] as const);
    globs = new Map(folded);
  }
  return globs;
}

/** Numbers, hexadecimal and UUIDs, long words that mix letters with digits, and what cannot be written as a glob. */
export function withoutId(segment: string): string {
  const isNumber = /^\d+$/.test(segment);
  const isHex = /^(?=.*\d)[0-9a-f-]{7,}$/i.test(segment);
  const isToken = segment.length >= 16 && /\d/.test(segment) && /[A-Za-z]/.test(segment);
  const isLong = segment.length >= 40;
  return isNumber || isHex || isToken || isLong || /[*?#{}[\]]/.test(segment) ? '*' : segment;
}

/** Replacements of whole globs. */
function varyingSegments(globs: readonly string[]): Map<string, string> {
  const replaced = new Map<string, string>();
  const length = deepest(globs);
  for (let at = length; at >= 1; at--) {
    const alike = new Map<string, Set<string>>();
    for (const glob of globs) {
      const current = replaced.get(glob) ?? glob;
      const segments = current.split('/');
      if (segments.length <= at || segments[at] === '') continue;
      const pattern = segments.with(at, '*').join('/');
      alike.set(pattern, (alike.get(pattern) ?? new Set()).add(segments[at] ?? ''));
    }
    for (const glob of globs) {
      const segments = (replaced.get(glob) ?? glob).split('/');
      if (segments.length <= at || segments[at] === '') continue;
      const pattern = segments.with(at, '*').join('/');
      if ((alike.get(pattern)?.size ?? 0) >= VARYING) replaced.set(glob, pattern);
    }
  }
  return replaced;
}

function applied(globs: ReadonlyMap<string, string>, replaced: ReadonlyMap<string, string>) {
  return new Map([...globs].map(([path, glob]) => [path, replaced.get(glob) ?? glob]));
}

/** `/a/b/c` to depth 2: `/a/b/**`. */
function foldedTo(glob: string, depth: number): string {
  const segments = glob.split('/');
  return segments.length <= depth ? glob : `${segments.slice(0, depth).join('/')}/**`;
}

function deepest(globs: Iterable<string>): number {
  let most = 1;
  for (const glob of globs) most = Math.max(most, glob.split('/').length - 1);
  return most;
}
