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
  readonly bytes: Buffer;
  /** From the outermost reading to the innermost one. */
  readonly readings: readonly string[];
}

/** Readings inside readings. */
const MAX_DEPTH = 4;
/** Views of one text, and the bytes of each: an attacker's text must not run the search out of memory. */
const MAX_VIEWS = 400;
const MAX_BYTES = 64 * 1024 * 1024;
/** Characters of a canary that give it away: more than a coincidence, and fewer than half of it. */
const PIECE = 10;
/** Runs of base64 and hex that can hold a piece. */
const BASE64 = /[A-Za-z0-9+/_-]{13,}/g;
const WRAPPED = /(?<=[A-Za-z0-9+/_-]{4})\r?\n[ \t]*(?=[A-Za-z0-9+/_-])/g;
const HEX = /(?:[0-9A-Fa-f]{2}[ :]?){10,}/g;

/**
 * Where canaries stand in what a sandbox saw. Reads the bytes in every way that it can think of, one inside another, with
 * nothing of `scrub/` in it: what takes secrets out must not be what says that they are gone.
 */
export function search(bytes: Buffer, canaries: readonly Canary[]): Found[] {
  const found = new Map<string, Found>();
  const seen = new Set<string>();
  let views: View[] = [{ bytes, readings: [] }];
  for (let depth = 0, count = 0; depth <= MAX_DEPTH && views.length > 0; depth++) {
    const next: View[] = [];
    for (const view of views) {
      const key = view.bytes.toString('latin1');
      if (seen.has(key) || count >= MAX_VIEWS) continue;
      seen.add(key);
      count++;
      for (const { credential, value } of canaries) {
        if (!found.has(credential) && holds(key, value))
          found.set(credential, { credential, spelling: nameOf(view.readings) });
      }
      if (depth < MAX_DEPTH) next.push(...readingsOf(view, key));
    }
    views = next;
  }
  return [...found.values()];
}

function nameOf(readings: readonly string[]): string {
  return readings.length === 0 ? 'as it is' : readings.toReversed().join(' in ');
}

/** Whether a text holds the canary, or a piece of it. */
function holds(text: string, canary: string): boolean {
  for (let at = 0; at + PIECE <= canary.length; at += PIECE) {
    if (text.includes(canary.slice(at, at + PIECE))) return true;
  }
  return false;
}

type Reading = readonly [
  name: string,
  read: (text: string, bytes: Buffer) => readonly (Buffer | undefined)[],
];

const READINGS: readonly Reading[] = [
  ['percent', text => [text.includes('%') ? latin1(percentDecoded(text)) : undefined]],
  ['escapes', text => [text.includes('\\') ? latin1(unescaped(text)) : undefined]],
  ['entities', text => [text.includes('&') ? latin1(entitiesDecoded(text)) : undefined]],
  ['UTF-16', text => [changed(text, text.replaceAll('\0', ''))]],
  ['base64', text => base64Runs(text)],
  ['hex', text => [hexRuns(text)]],
  ['lines joined', text => [changed(text, text.replace(WRAPPED, ''))]],
  ['gzip', (text, bytes) => membersAt(text, bytes, '\x1f\x8b', unzipSync)],
  ['zlib', (text, bytes) => membersAt(text, bytes, '\x78', inflateSync)],
  ['zstd', (text, bytes) => membersAt(text, bytes, '\x28\xb5\x2f\xfd', zstdDecompressSync)],
];

function readingsOf({ readings }: View, text: string): View[] {
  const bytes = latin1(text);
  return READINGS.flatMap(([name, read]) =>
    read(text, bytes)
      .filter(view => view !== undefined && view.length >= PIECE)
      .map(view => ({ bytes: view as Buffer, readings: [...readings, name] })),
  );
}

const changed = (before: string, after: string): Buffer | undefined =>
  before === after ? undefined : latin1(after);

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');

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
function base64Runs(text: string): Buffer[] {
  const runs = text.match(BASE64) ?? [];
  if (runs.length === 0) return [];
  return [0, 1, 2, 3].map(skip => Buffer.concat(runs.map(run => Buffer.from(run.slice(skip), 'base64'))));
}

function hexRuns(text: string): Buffer | undefined {
  const runs = text.match(HEX);
  return runs ? Buffer.concat(runs.map(run => Buffer.from(run.replace(/[ :]/g, ''), 'hex'))) : undefined;
}

/** What is compressed behind each mark, as far as it can be read. */
function membersAt(
  text: string,
  bytes: Buffer,
  mark: string,
  decompress: (bytes: Buffer, options: object) => Buffer,
): (Buffer | undefined)[] {
  const members: (Buffer | undefined)[] = [];
  for (let at = text.indexOf(mark); at >= 0 && members.length < 20; at = text.indexOf(mark, at + 1))
    members.push(
      attempt(() =>
        decompress(bytes.subarray(at), mark.startsWith('\x28') ? { maxOutputLength: MAX_BYTES } : LENIENT),
      ),
    );
  return members;
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
