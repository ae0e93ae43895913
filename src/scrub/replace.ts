import { Buffer } from 'node:buffer';
import type { Match } from './patterns.ts';

/** What fills up a replacement that must be longer, by encoding. */
const FILL = { plain: '*', base64: 'A', hex: '0', utf16le: '*\0', utf16be: '\0*' } as const;

/** What stands instead of a match where lengths must stay as they are. */
export function fitted(match: Match, stub: string): Buffer {
  const bytes = Buffer.alloc(match.end - match.start, FILL[match.spelling.encoding], 'latin1');
  replacement(match, stub).copy(bytes);
  return bytes;
}

const REMOVED = '[removed]';
const STANDARD = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const URL_SAFE = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** What stands instead of a match, in its encoding: the stub. */
export function replacement(match: Match, stub: string): Buffer {
  const text = stub === '' ? REMOVED : stub;
  switch (match.spelling.encoding) {
    case 'plain':
      return Buffer.from(text, 'latin1');
    case 'base64':
      return Buffer.from(base64(match, text), 'latin1');
    case 'hex': {
      const hex = Buffer.from(text, 'latin1').toString('hex');
      return Buffer.from(/^[^a-f]*[A-F][^a-f]*$/.test(match.sample) ? hex.toUpperCase() : hex);
    }
    case 'utf16le':
      return Buffer.from(text, 'utf16le');
    case 'utf16be':
      return Buffer.from(text, 'utf16le').swap16();
  }
}

/**
 * The stub at the alignment of the secret, and of a length that keeps the alignment of what follows. The characters
 * that the secret shares with its neighbours keep the neighbours' bits.
 */
function base64({ spelling, lead, trail, sample }: Match, text: string): string {
  const padded = text + '_'.repeat((((spelling.secretLength - text.length) % 3) + 3) % 3);
  const bytes = Buffer.concat([Buffer.alloc(spelling.shift), Buffer.from(padded, 'latin1')]);
  const alphabet = /[-_]/.test(sample) ? URL_SAFE : STANDARD;
  const sextets = Array.from(bytes.toString('base64').replace(/=+$/, ''), c => STANDARD.indexOf(c));
  if (spelling.trail) {
    const last = sextets.pop() as number;
    if (trail >= 0) sextets.push((last & spelling.trail.mask) | (trail & ~spelling.trail.mask));
  }
  sextets.splice(0, spelling.shift);
  if (spelling.lead) {
    const first = sextets.shift() as number;
    if (lead >= 0) sextets.unshift((first & spelling.lead.mask) | (lead & ~spelling.lead.mask));
  }
  return sextets.map(value => alphabet[value]).join('');
}
