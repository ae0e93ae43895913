import { Buffer } from 'node:buffer';
import type { Canary } from './canary.ts';

/** A secret in one spelling, and where it stands in the bytes that were looked at. */
export interface Spotted {
  readonly credential: string;
  readonly spelling: string;
  readonly offset: number;
}

interface Needle {
  readonly credential: string;
  readonly spelling: string;
  readonly bytes: Buffer;
}

/** Fewer bytes of a spelling would be found by chance. */
const LEAST = 8;

/**
 * Looks for whole secrets in the spellings in which programs keep them. For what is too large for `search`, such as
 * memory: one pass for each spelling, nothing is decoded.
 */
export class QuickSearch {
  readonly #needles: readonly Needle[];
  /** Bytes by which two pieces must overlap, so that nothing is missed between them. */
  readonly overlap: number;

  constructor(canaries: readonly Canary[]) {
    this.#needles = canaries.flatMap(needlesOf);
    this.overlap = Math.max(0, ...this.#needles.map(({ bytes }) => bytes.length - 1));
  }

  /** The first place of each secret in each spelling. */
  in(bytes: Buffer): Spotted[] {
    const found: Spotted[] = [];
    for (const { credential, spelling, bytes: needle } of this.#needles) {
      const offset = bytes.indexOf(needle);
      if (offset >= 0) found.push({ credential, spelling, offset });
    }
    return found;
  }
}

function needlesOf({ credential, value }: Canary): Needle[] {
  const raw = Buffer.from(value, 'latin1');
  const texts: [spelling: string, text: string][] = [
    ['as it is', value],
    ...[0, 1, 2].map((skip): [string, string] => ['base64', base64Core(raw, skip)]),
    ['hex', raw.toString('hex')],
    ['hex', raw.toString('hex').toUpperCase()],
    ['percent', encodeURIComponent(value)],
    ['escapes', JSON.stringify(value).slice(1, -1)],
    ['escapes', value.replaceAll('/', '\\/')],
    ['UTF-16', Buffer.from(value, 'utf16le').toString('latin1')],
  ];
  const url = texts
    .filter(([spelling]) => spelling === 'base64')
    .map(([, text]): [string, string] => ['base64url', text.replaceAll('+', '-').replaceAll('/', '_')]);
  const spelled = new Map([...texts, ...url].toReversed().map(([spelling, text]) => [text, spelling]));
  return [...spelled]
    .filter(([text]) => text.length >= LEAST)
    .map(([text, spelling]) => ({ credential, spelling, bytes: Buffer.from(text, 'latin1') }));
}

/** The characters that are the same whatever stands around it, behind `skip` bytes of a group (RFC 4648, section 4). */
function base64Core(raw: Buffer, skip: number): string {
  const text = Buffer.concat([Buffer.alloc(skip), raw])
    .toString('base64')
    .replace(/=+$/, '');
  const first = skip === 0 ? 0 : skip + 1;
  const isOpen = (skip + raw.length) % 3 !== 0;
  return text.slice(first, isOpen ? -1 : undefined);
}
