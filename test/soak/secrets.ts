import { randomBytes } from 'node:crypto';
import { Needles } from '../../src/proof/search.ts';
import { canary } from '../support/canary.ts';

/** How long an issuer accepts the value before, after it has given out a new one; ms. Above the ttl of the gate's cache. */
export const OVERLAP_MS = 8000;
/** Values that are looked for in what sandboxes see. */
const MAX_NEEDLES = 12;

interface Value {
  readonly text: string;
  /** Until when it is accepted, ms since the epoch. */
  until: number;
}

/** The credentials as their issuers see them: each has a value, and rotates. */
export class Secrets {
  readonly #values = new Map<string, Value[]>();
  #needles = new Needles([]);

  /** A new value; the one before is accepted for the overlap, or not any more. */
  rotate(name: string, overlap: number): string {
    const text = canary(`${name}-`, 36) + randomBytes(2).toString('hex');
    const now = Date.now();
    const before = this.#values.get(name) ?? [];
    for (const value of before) value.until = Math.min(value.until, now + overlap);
    this.#values.set(name, [...before, { text, until: Number.POSITIVE_INFINITY }].slice(-MAX_NEEDLES));
    const canaries = [...this.#values].flatMap(([credential, values]) =>
      values.map(value => ({ credential, value: value.text })),
    );
    this.#needles = new Needles(canaries);
    return text;
  }

  /** What an issuer says to a value: `unknown` is none of its own, which nobody may send. */
  judge(name: string, text: string): 'good' | 'old' | 'unknown' {
    const found = this.#values.get(name)?.find(value => value.text === text);
    if (!found) return 'unknown';
    return Date.now() <= found.until ? 'good' : 'old';
  }

  /** Names of the credentials of which these bytes hold a piece. */
  in(bytes: Buffer): string[] {
    return [...this.#needles.in(bytes.toString('latin1'))];
  }
}
