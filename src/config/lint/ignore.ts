import { CODES, type CheckCode } from './codes.ts';

/** `# stubgate-ignore: SG003, SG005 why this is meant` */
const COMMENT = /(?:^|\s)#\s*stubgate-ignore\b:?(.*)$/;
const CODE_LIST = /^\s*(SG\d{3}(?:\s*,\s*SG\d{3})*)\s*(.*)$/;

/** A comment that silences findings on its own line, or on the first one below that is no comment. */
export interface Ignore {
  /** Where it stands, and where it holds; from 1. */
  readonly line: number;
  readonly col: number;
  readonly holdsAt: number;
  readonly codes: readonly CheckCode[];
  /** Why it silences nothing at all, if it does not. */
  readonly fault?: string;
}

export function ignoresIn(text: string): Ignore[] {
  const lines = text.split('\n');
  return lines.flatMap((line, i) => {
    const match = COMMENT.exec(line);
    if (!match) return [];
    const isWholeLine = /^\s*#/.test(line);
    let holdsAt = i + 1;
    if (isWholeLine)
      while (holdsAt <= lines.length && /^\s*(?:#|$)/.test(lines[holdsAt - 1] ?? '')) holdsAt++;
    const at = { line: i + 1, col: line.indexOf('#', match.index) + 1, holdsAt };
    return [{ ...at, ...read(match[1] ?? '') }];
  });
}

function read(text: string): Pick<Ignore, 'codes' | 'fault'> {
  const [, list, reason] = CODE_LIST.exec(text) ?? [];
  if (list === undefined) return { codes: [], fault: 'names no code' };
  const codes = list.split(/\s*,\s*/);
  if (codes.some(code => !Object.hasOwn(CODES, code)))
    return { codes: [], fault: 'names a code that does not exist' };
  if (reason === '') return { codes: [], fault: 'gives no reason' };
  return { codes: codes as CheckCode[] };
}
