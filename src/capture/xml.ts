import { BodyFault } from '../types.ts';

/** An element that holds text, or nothing. Offsets are those of the text. */
export interface Leaf {
  /** Names from the root on, slashes between them. */
  readonly path: string;
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

const DECLARATION =
  /^<\?xml(?:\s+version="1\.[01]")?(?:\s+encoding="utf-8")?(?:\s+standalone="(?:yes|no)")?\s*\?>/i;
const TAG = /<(\/?)([A-Za-z_][\w.-]*)((?:\s+[A-Za-z_][\w.:-]*\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(\/?)>/y;
const MAX_DEPTH = 32;

/** Leaf elements of the XML that AWS writes, latin1. Throws BodyFault for any other: DTDs, comments, CDATA, prefixes, mixed content. */
export function leavesOf(text: string): Leaf[] {
  const leaves: Leaf[] = [];
  const open: { name: string; isLeaf: boolean; start: number }[] = [];
  let at = DECLARATION.exec(text)?.[0].length ?? 0;
  let isOver = false;
  for (;;) {
    const next = text.indexOf('<', at);
    const between = text.slice(at, next < 0 ? text.length : next);
    const isLeafText = next >= 0 && text[next + 1] === '/' && open.at(-1)?.isLeaf === true;
    if (!isLeafText && /\S/.test(between)) throw notReadable();
    if (next < 0) break;
    TAG.lastIndex = next;
    const [tag, closing, name = '', attributes = '', empty] = TAG.exec(text) ?? [];
    if (tag === undefined || isOver || open.length > MAX_DEPTH) throw notReadable();
    if (closing) {
      const element = open.pop();
      if (element?.name !== name || attributes !== '' || empty) throw notReadable();
      const path = [...open.map(parent => parent.name), name].join('/');
      if (element.isLeaf) leaves.push({ path, text: between, start: at, end: next });
    } else {
      const parent = open.at(-1);
      if (parent) parent.isLeaf = false;
      const end = next + tag.length;
      if (empty)
        leaves.push({ path: [...open.map(one => one.name), name].join('/'), text: '', start: end, end });
      else open.push({ name, isLeaf: true, start: end });
    }
    isOver = open.length === 0;
    at = next + tag.length;
  }
  if (!isOver) throw notReadable();
  return leaves;
}

function notReadable(): BodyFault {
  return new BodyFault('is not XML as AWS writes it', '');
}
