import type { FieldSource, RawHeaders } from './types.ts';

// Field names are compared in loops: lower-casing each of them costs more than all else that is done with a head.

/** Whether a field name, in any case, is `lower` (RFC 9110, section 5.1). */
export function isNamed(name: string, lower: string): boolean {
  if (name.length !== lower.length) return false;
  for (let i = 0; i < lower.length; i++) {
    const code = name.charCodeAt(i);
    const isUpper = code >= 0x41 && code <= 0x5a;
    if ((isUpper ? code + 0x20 : code) !== lower.charCodeAt(i)) return false;
  }
  return true;
}

interface Spelled {
  readonly lower: string;
  /** As most clients write it: Content-Length. */
  readonly title: string;
}

/** A set of lower-case field names, asked in any case. Length and first letter sort out nearly every other name. */
export class Names {
  /** By length and the low five bits of the first letter, which upper and lower case share. */
  readonly #byShape: (Spelled[] | undefined)[] = Array.from({ length: 32 * 32 }, () => undefined);

  constructor(...names: readonly string[]) {
    for (const lower of names) {
      const title = lower.replace(/\b[a-z]/g, letter => letter.toUpperCase());
      (this.#byShape[shape(lower)] ??= []).push({ lower, title });
    }
  }

  /** The name in lower case if it is one of these; otherwise undefined. */
  find(name: string): string | undefined {
    const alike = this.#byShape[shape(name)];
    if (alike === undefined) return undefined;
    for (const { lower, title } of alike) if (name === title || isNamed(name, lower)) return lower;
    return undefined;
  }

  has(name: string): boolean {
    return this.find(name) !== undefined;
  }
}

function shape(name: string): number {
  return ((name.length & 31) << 5) | (name.charCodeAt(0) & 31);
}

/** Names that concern one connection only (RFC 9110, section 7.6.1), old and unregistered ones included. */
export const HOP_BY_HOP_NAMES = [
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authorization',
  'proxy-authenticate',
  'proxy-authentication-info',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
] as const;
export const HOP_BY_HOP = new Names(...HOP_BY_HOP_NAMES);

/** The first value of a field; `name` in lower case. */
export function get(headers: RawHeaders, name: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) if (isNamed(headers[i] as string, name)) return headers[i + 1];
  return undefined;
}

/** `name` in lower case. */
export function has(headers: RawHeaders, name: string): boolean {
  return get(headers, name) !== undefined;
}

/**
 * Field lines, each ended by CRLF. Runs of lines that stand in `source` are cut from its text: a string of few large
 * pieces is written several times as fast as one of many small ones. `isLineFirst`: the source's first line, too.
 */
export function fieldLines(headers: RawHeaders, source?: FieldSource, isLineFirst = false): string {
  let lines = '';
  let next = 0;
  let run = 0;
  let runEnd = source && isLineFirst ? (source.starts[0] as number) : 0;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    const value = headers[i + 1] as string;
    const at = source ? lineAt(source, next, name, value) : -1;
    if (source && at >= 0) {
      const start = source.starts[at] as number;
      if (start !== runEnd) {
        lines += source.text.slice(run, runEnd);
        run = start;
      }
      runEnd = source.starts[at + 1] as number;
      next = at + 1;
    } else {
      if (source) lines += source.text.slice(run, runEnd);
      run = runEnd = 0;
      lines += `${name}: ${value}\r\n`;
    }
  }
  return source ? lines + source.text.slice(run, runEnd) : lines;
}

/** Which line of the source, from `next` on, is exactly this field with one space before its value; -1 if none. */
function lineAt({ headers, starts }: FieldSource, next: number, name: string, value: string): number {
  for (let line = next; line + 1 < starts.length; line++) {
    if (headers[2 * line] !== name || headers[2 * line + 1] !== value) continue;
    const length = (starts[line + 1] as number) - (starts[line] as number);
    if (length === name.length + value.length + 4) return line;
  }
  return -1;
}

/** Members of a comma-separated list, in lower case (RFC 9110, section 5.6.1). */
export function listOf(value: string): string[] {
  const members = value.toLowerCase().split(/[ \t]*,[ \t]*/);
  return members.filter(member => member !== '');
}
