import { Buffer } from 'node:buffer';
import {
  brotliDecompressSync,
  constants,
  inflateRawSync,
  inflateSync,
  unzipSync,
  zstdDecompressSync,
} from 'node:zlib';
import type { Canary } from './canary.ts';

/** A canary, or a part of it, that was found. */
export interface Found {
  readonly credential: string;
  /** How it was spelled there, such as `base64 in gzip`; `as it is`: not at all. */
  readonly spelling: string;
}

interface View {
  /** A character for each byte. */
  readonly text: string;
  /** From the outermost reading to the innermost one. */
  readonly readings: readonly string[];
}

/** Readings inside readings. */
const MAX_DEPTH = 4;
/** Views of one text, and the bytes of each: an attacker's text must not run the search out of memory. */
const MAX_VIEWS = 400;
const MAX_BYTES = 64 * 1024 * 1024;
/** Bytes of all views together: so many, and so many for each byte of the text. Binary data reads as anything. */
const BUDGET = 2 * 1024 * 1024;
const BUDGET_PER_BYTE = 16;
/** Compressed parts of one text. */
const MAX_MEMBERS = 20;
/** Characters of a canary that give it away: more than a coincidence, and fewer than half of it. */
const PIECE = 10;
/** What means something else in a regular expression. */
const ESCAPED = /[\\^$.*+?()[\]{}|/-]/g;
/** Runs of base64 and hex that can hold a piece. */
const BASE64 = /[A-Za-z0-9+/_-]{13,}/g;
const WRAPPED = /(?<=[A-Za-z0-9+/_-]{4})\r?\n[ \t]*(?=[A-Za-z0-9+/_-])/g;
const HEX = /(?:[0-9A-Fa-f]{2}[ :]?){10,}/g;

/** What one search looks for; made once, for it is compiled. */
export class Needles {
  readonly #pieces = new Map<string, string>();
  readonly #any: RegExp;

  constructor(canaries: readonly Canary[]) {
    for (const { credential, value } of canaries)
      for (const piece of piecesOf(value)) this.#pieces.set(piece, credential);
    const pieces = [...this.#pieces.keys()].map(piece => piece.replace(ESCAPED, '\\$&'));
    // An empty alternative would match everywhere.
    this.#any = new RegExp(pieces.length > 0 ? pieces.join('|') : '(?!)', 'g');
  }

  /** The credentials of which a text holds the canary, or a piece of it. */
  in(text: string): Set<string> {
    return new Set(text.match(this.#any)?.map(piece => this.#pieces.get(piece) as string));
  }
}

function piecesOf(value: string): string[] {
  if (value.length < PIECE) return value === '' ? [] : [value];
  return Array.from({ length: Math.floor(value.length / PIECE) }, (_, i) =>
    value.slice(i * PIECE, (i + 1) * PIECE),
  );
}

/**
 * Where canaries stand in what a sandbox saw. Reads the bytes in every way that it can think of, one inside another, with
 * nothing of `scrub/` in it: what takes secrets out must not be what says that they are gone.
 */
export function search(bytes: Buffer, needles: Needles): Found[] {
  const found = new Map<string, Found>();
  const seen = new Set<string>();
  let views: View[] = [{ text: bytes.toString('latin1'), readings: [] }];
  let budget = BUDGET + BUDGET_PER_BYTE * bytes.length;
  for (let depth = 0; depth <= MAX_DEPTH && views.length > 0; depth++) {
    const next: View[] = [];
    for (const view of views) {
      if (seen.has(view.text) || seen.size >= MAX_VIEWS || budget < 0) continue;
      seen.add(view.text);
      budget -= view.text.length;
      for (const credential of needles.in(view.text))
        if (!found.has(credential)) found.set(credential, { credential, spelling: nameOf(view.readings) });
      if (depth < MAX_DEPTH) next.push(...readingsOf(view));
    }
    views = next;
  }
  return [...found.values()];
}

function nameOf(readings: readonly string[]): string {
  return readings.length === 0 ? 'as it is' : readings.toReversed().join(' in ');
}

type Reading = readonly [name: string, read: (text: string) => readonly (string | undefined)[]];

const READINGS: readonly Reading[] = [
  ['percent', text => [text.includes('%') ? percentDecoded(text) : undefined]],
  ['escapes', text => [text.includes('\\') ? unescaped(text) : undefined]],
  ['entities', text => [text.includes('&') ? entitiesDecoded(text) : undefined]],
  ['UTF-16', text => [text.includes('\0') ? text.replaceAll('\0', '') : undefined]],
  ['base64', text => base64Runs(text)],
  ['hex', text => [hexRuns(text)]],
  ['lines joined', text => [text.includes('\n') ? text.replace(WRAPPED, '') : undefined]],
  ['gzip', text => membersAt(text, GZIP, unzipSync)],
  ['zlib', text => membersAt(text, ZLIB, inflateSync)],
  ['zstd', text => membersAt(text, ZSTD, zstdDecompressSync)],
];

/** Of gzip (RFC 1952, section 2.3), its method being deflate, and no reserved flag. */
const GZIP = /\x1f\x8b\x08[\0-\x1f]/g;
/** Of zlib (RFC 1950, section 2.2), a window of 32 KiB: CMF and FLG are a multiple of 31, and no dictionary is needed. */
const ZLIB = /\x78[\x01\x5e\x9c\xda]/g;
/** Of Zstandard (RFC 8878, section 3.1.1). */
const ZSTD = /\x28\xb5\x2f\xfd/g;

function readingsOf({ text, readings }: View): View[] {
  return READINGS.flatMap(([name, read]) =>
    read(text)
      .filter(view => view !== undefined && view.length >= PIECE && view !== text)
      .map(view => ({ text: view as string, readings: [...readings, name] })),
  );
}

const percentDecoded = (text: string): string =>
  text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));

/** JSON's, JavaScript's and the shell's. */
const unescaped = (text: string): string =>
  text.replace(
    /\\(?:u\{?0{0,4}([0-9A-Fa-f]{2})\}?|x([0-9A-Fa-f]{2})|([0-3][0-7]{2})|([^0-9]))/g,
    (_, u?: string, x?: string, octal?: string, plain?: string) =>
      plain ??
      String.fromCharCode(
        octal === undefined ? Number.parseInt(u ?? x ?? '', 16) : Number.parseInt(octal, 8),
      ),
  );

const NAMED: Readonly<Record<string, string>> = {
  plus: '+',
  sol: '/',
  equals: '=',
  amp: '&',
  lowbar: '_',
  hyphen: '-',
};

const entitiesDecoded = (text: string): string =>
  text.replace(
    /&(?:#x0*([0-9A-Fa-f]{1,2})|#0*([0-9]{1,3})|([a-z]+));/gi,
    (all, hex?: string, number?: string, name?: string) => {
      if (name !== undefined) return NAMED[name] ?? all;
      return String.fromCharCode(hex === undefined ? Number(number) & 0xff : Number.parseInt(hex, 16));
    },
  );

/** Each run of base64, from each of the four characters that a group may start with. */
function base64Runs(text: string): string[] {
  const runs = text.match(BASE64);
  if (!runs) return [];
  return [0, 1, 2, 3].map(skip =>
    runs.map(run => Buffer.from(run.slice(skip), 'base64').toString('latin1')).join(''),
  );
}

function hexRuns(text: string): string | undefined {
  return text
    .match(HEX)
    ?.map(run => Buffer.from(run.replace(/[ :]/g, ''), 'hex').toString('latin1'))
    .join('');
}

/** What is compressed behind each mark, as far as it can be read. */
function membersAt(
  text: string,
  mark: RegExp,
  decompress: (bytes: Buffer, options: object) => Buffer,
): (string | undefined)[] {
  const marks = [...text.matchAll(mark)].slice(0, MAX_MEMBERS);
  if (marks.length === 0) return [];
  const bytes = Buffer.from(text, 'latin1');
  const options = mark === ZSTD ? { maxOutputLength: MAX_BYTES } : LENIENT;
  return marks.map(({ index }) =>
    attempt(() => decompress(bytes.subarray(index), options))?.toString('latin1'),
  );
}

/** What is cut short is read up to there. */
const LENIENT = { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: MAX_BYTES };

function attempt(read: () => Buffer): Buffer | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** A body without its content codings (RFC 9110, section 8.4.1), as far as it can be read. */
export function decoded(body: Buffer, codings: readonly string[]): Buffer {
  let bytes = body;
  for (const coding of codings.toReversed()) {
    const read = {
      gzip: () => unzipSync(bytes, LENIENT),
      deflate: () => attempt(() => inflateSync(bytes, LENIENT)) ?? inflateRawSync(bytes, LENIENT),
      br: () =>
        brotliDecompressSync(bytes, {
          finishFlush: constants.BROTLI_OPERATION_FLUSH,
          maxOutputLength: MAX_BYTES,
        }),
      zstd: () => zstdDecompressSync(bytes, { maxOutputLength: MAX_BYTES }),
    }[coding];
    bytes = (read && attempt(read)) ?? bytes;
  }
  return bytes;
}
