import { canonicalPath } from './path.ts';

/** Whether a path falls under a glob. Takes at most (length of path × length of glob) steps. */
export type PathGlob = (path: string) => boolean;

/** Whether one segment of a path falls under one segment of a glob; `**` stands for any number of segments. */
type Segment = Matches | '**';
type Matches = (text: string) => boolean;

/** What is wrong with a glob, for the operator; undefined if nothing is. */
export function globFault(glob: string): string | undefined {
  if (!glob.startsWith('/')) return 'must start with `/`; paths are matched from the root';
  if (/[?#]/.test(glob)) return 'must be a path without query or fragment; rules do not look at queries';
  if (/[{}[\]]/.test(glob))
    return 'has a bracket; only `*` and `**` are special, so write one glob for each path';
  if (glob.split('/').some(segment => segment.includes('**') && segment !== '**')) {
    return 'has `**` inside a segment; write `/**/` for any depth, `*` inside one segment';
  }
  if (!canonicalPath(glob)) {
    return 'can never match, because such a path is refused; write it without dot segments, backslashes, `//` at the start and control characters, and percent-encode other characters as the client sends them';
  }
  return undefined;
}

/**
 * A glob over canonical paths: `*` is any text inside one segment (a whole segment of `*` is not empty), `**` is any
 * number of segments, also none, so that `/a/**` covers `/a`. All else is literal and case-sensitive: `%2F` is not `/`,
 * and `%61` is not `a`.
 */
export function compileGlob(glob: string): PathGlob {
  const star = glob.indexOf('*');
  if (star < 0) return path => path === glob;
  if (glob.endsWith('/**') && star === glob.length - 2) {
    const parent = glob.slice(0, -3);
    const below = `${parent}/`;
    return path => path.startsWith(below) || path === parent;
  }
  const segments = glob.split('/').map(compileSegment);
  return segments.every(segment => segment !== '**')
    ? path => matchesInTurn(segments, path)
    : path => matchesSegments(segments, path.split('/'));
}

function compileSegment(segment: string): Segment {
  if (segment === '**') return segment;
  if (segment === '*') return text => text !== '';
  if (!segment.includes('*')) return text => text === segment;
  const pieces = segment.split('*');
  return text => matchesPieces(pieces, text);
}

/** As many segments as the glob has, one after another. */
function matchesInTurn(glob: readonly Matches[], path: string): boolean {
  let at = 0;
  for (let i = 0; i < glob.length; i++) {
    const slash = path.indexOf('/', at);
    const isLast = slash < 0;
    if (isLast !== (i === glob.length - 1)) return false;
    if (glob[i]?.(path.slice(at, isLast ? undefined : slash)) !== true) return false;
    at = slash + 1;
  }
  return true;
}

/** Goes back to the last `**` only: whatever an earlier one could take, the last one can take as well. */
function matchesSegments(glob: readonly Segment[], path: readonly string[]): boolean {
  let at = 0;
  let next = 0;
  let resumeAt = -1;
  let resumeNext = 0;
  while (next < path.length) {
    const segment = glob[at];
    if (segment === '**') {
      resumeAt = ++at;
      resumeNext = next;
    } else if (segment?.(path[next] as string)) {
      at++;
      next++;
    } else if (resumeAt >= 0) {
      at = resumeAt;
      next = ++resumeNext;
    } else {
      return false;
    }
  }
  while (glob[at] === '**') at++;
  return at === glob.length;
}

/** Whether the pieces stand in the text in order, the first at its start and the last at its end. */
function matchesPieces(pieces: readonly string[], text: string): boolean {
  const first = pieces[0] as string;
  const last = pieces.at(-1) as string;
  const end = text.length - last.length;
  if (end < first.length || !text.startsWith(first) || !text.endsWith(last)) return false;
  let from = first.length;
  for (const piece of pieces.slice(1, -1)) {
    const found = text.indexOf(piece, from);
    if (found < 0 || found + piece.length > end) return false;
    from = found + piece.length;
  }
  return true;
}
