import type { Secret } from '../secret.ts';
import { IF_INTRODUCING, INTRODUCES, LONGEST_ESCAPE, NOTHING, WRITES_ESCAPES } from './escapes.ts';
import { type Hit, Matcher } from './matcher.ts';
import { decodedBytes, misread, swallowedHead } from './misread.ts';
import { Reader, ROUNDS, UNDECIDED } from './reader.ts';
import { firstRun, Seeker } from './seeker.ts';
import { type Spelling, spellings, tooShort } from './spelling.ts';
import { View } from './view.ts';

/** Text is searched in stretches of so many bytes, which bounds the views. */
export const STRETCH = 64 * 1024;

/** Windows of a stretch that are looked at for a run of bytes which may be a match: twice what random bytes need. */
const LOOKS = 100;

/** Where a spelling stands in a text: text[start, end). */
export interface Match {
  readonly start: number;
  readonly end: number;
  readonly spelling: Spelling;
  /** Values of the characters that it shares with what stands before and after it, or -1. */
  readonly lead: number;
  readonly trail: number;
  /** The characters as they stand there, for an encoding that can be written in two ways. */
  readonly sample: string;
}

/** What a search gave; overwritten by the next one. */
export interface Finding {
  /** By start, the longest first. */
  readonly matches: readonly Match[];
  /** From here on, a secret or an escape may be unfinished; matches that start later are not settled. */
  hold: number;
  /** Where the next search must start, so that it reads the escapes as this one did; ≤ hold. */
  base: number;
}

const hits: Hit[] = [];
const found: Match[] = [];
const finding: Finding = { matches: found, hold: 0, base: 0 };

/**
 * Every spelling of a set of secrets, compiled. A text is searched as it is, decoded once, and decoded twice. Decoding
 * goes from left to right, so what stands before a secret may be taken for the start of an escape that goes on in it:
 * inside of each escape, too, it is tried whether a spelling starts there. What is found is read once more by itself,
 * so that a match depends on nothing before it.
 */
export class Patterns {
  readonly empty: boolean;
  readonly #plain: Matcher;
  readonly #inView: Matcher;
  /** An escape further away than so many bytes cannot be part of the same match. */
  readonly #reach: number;
  /** Byte → what an escape for it is worth. */
  readonly #worth: Uint8Array;
  /** Bytes of the shortest thing to be found, behind an escape that may have swallowed its start. */
  readonly #shortest: number;
  /** Byte → 1 if the text of a spelling may start with it, escaped or not. */
  readonly #starts: Uint8Array;
  // Scratch for one search at a time: view n is what view n-1, or the text itself, decodes to, where seeker n says.
  readonly #seekers: readonly Seeker[];
  readonly #views: readonly View[];
  /** Whether view n shows its source up to where that ends for now. */
  readonly #open: boolean[] = Array.from({ length: ROUNDS }, () => false);
  /** Whether escapes were looked for in the source of view n as it is now. */
  readonly #hasEscapes: boolean[] = Array.from({ length: ROUNDS }, () => false);
  readonly #readers: readonly Reader[];

  /**
   * Several secrets may share a name. `wires`: encodings of them, which are found as they are, but must also be found in
   * a further one. Throws for a secret that is too short (MIN_SECRET_BYTES).
   */
  constructor(secrets: readonly Secret[], wires: readonly Secret[] = []) {
    const further = wires.filter(wire => !tooShort(wire)).map(wire => prepare(wire, 'encoded'));
    const prepared = [...secrets.flatMap(partsOf).map(secret => prepare(secret)), ...further];
    const plain = unique(prepared.flatMap(one => one.plain));
    const inView = unique(prepared.flatMap(one => one.inView));
    this.empty = plain.length === 0;
    this.#plain = new Matcher(plain);
    this.#inView = inView.some(s => s.bytes.length < s.literal.length) ? new Matcher(inView) : this.#plain;
    this.#reach = this.#plain.longest + LONGEST_ESCAPE;
    const used = Uint8Array.from(this.#plain.alphabet);
    for (const { decoded } of prepared) for (const c of decoded) used[c] = 1;
    this.#worth = used.map((isUsed, c) =>
      isUsed || INTRODUCES[c] !== 1 ? isUsed | (WRITES_ESCAPES[c] as number) : IF_INTRODUCING,
    );
    this.#starts = INTRODUCES.map((introduces, c) =>
      this.#plain.startingWith(c).length > 0 ? 1 : introduces,
    );
    const shortestRest = Math.min(...inView.map(s => s.bytes.length - swallowedHead(s)));
    this.#shortest = Math.max(1, shortestRest);
    this.#seekers = Array.from({ length: ROUNDS }, () => new Seeker(this.#worth, this.#shortest));
    this.#views = Array.from({ length: ROUNDS }, () => new View(this.#worth, this.#reach));
    this.#readers = Array.from({ length: ROUNDS }, () => new Reader(this.#plain.longest));
  }

  /** The first secret in `bytes`, in any spelling. */
  find(bytes: Buffer): { name: string; at: number; length: number } | undefined {
    if (this.empty) return undefined;
    let from = 0;
    for (let to = Math.min(bytes.length, STRETCH); ; to = Math.min(bytes.length, to + STRETCH)) {
      const { matches, hold, base } = this.search(bytes, from, to, to === bytes.length);
      const first = matches[0];
      if (first && first.start < hold)
        return { name: first.spelling.name, at: first.start, length: first.end - first.start };
      if (to === bytes.length) return undefined;
      from = base;
    }
  }

  /** Searches text[from, to); `final`: the text ends there. */
  search(text: Buffer, from: number, to: number, final: boolean): Finding {
    // Setting a length is slow, even if it stays the same.
    if (found.length > 0) found.length = 0;
    if (hits.length > 0) hits.length = 0;
    finding.hold = finding.base = to;
    // Most stretches of binary data end here; in a text, it would take longer than all that follows.
    const start = firstRun(text, from, to, final, this.#worth, this.#shortest, LOOKS);
    if (start === to) return finding;
    const hold = Math.max(start, this.#level(0, text, start, to, final));
    if (hits.length > 0) this.#settleHits(text, to, final);
    finding.hold = Math.min(finding.hold, hold);
    if (!final) finding.base = Math.min(finding.base, this.#tokenStart(0, finding.hold));
    if (found.length > 1) found.sort((a, b) => a.start - b.start || b.end - a.end);
    return finding;
  }

  #level(level: number, text: Buffer, from: number, to: number, final: boolean): number {
    const matcher = level === 0 ? this.#plain : this.#inView;
    const source = this.#views[level - 1];
    matcher.search(text, from, to, hits);
    const hold = final ? to : matcher.unfinished(text, from, to);
    if (level === ROUNDS) return hold;
    this.#open[level] = false;
    this.#hasEscapes[level] = source?.introduces !== false;
    return this.#hasEscapes[level] ? Math.min(hold, this.#decoded(level, text, from, to, final)) : hold;
  }

  /** Searches what the escapes in text[from, to) stand for. */
  #decoded(level: number, text: Buffer, from: number, to: number, final: boolean): number {
    const view = this.#views[level] as View;
    const seeker = (this.#seekers[level] as Seeker).over(text, from, to, final, level === 0);
    let hold = to;
    let decoded = from;
    let p = seeker.next(from);
    if (p < to) (this.#readers[level] as Reader).over(text, to, final);
    for (; p < to; p = seeker.next(view.end)) {
      const start = this.#runStart(text, p, Math.max(decoded, seeker.clean, p - this.#reach));
      if (start === seeker.clean) this.#inside(level, text, seeker.skipped, start);
      view.show(text, start, to, final);
      const isOpen = !final && (view.unfinished || view.end === to);
      this.#open[level] = isOpen;
      decoded = view.lastEscapeEnd;
      for (let k = view.escapes; k > 0; k--)
        this.#inside(level, text, view.escapeStart(k), view.escapeEnd(k));
      if (!isOpen && view.length < this.#inView.shortest) continue;
      const first = hits.length;
      const held = this.#level(level + 1, view.bytes, 0, view.length, !isOpen);
      for (let i = first; i < hits.length; i++) {
        const hit = hits[i] as Hit;
        hit.start = view.sourceStart(hit.start);
        hit.at = view.sourceStart(hit.at);
      }
      if (isOpen) hold = view.sourceStart(held);
      if (view.unfinished) break;
    }
    return hold;
  }

  /** Finds spellings that start inside of the escape text[start, end) of a level. */
  #inside(level: number, text: Buffer, start: number, end: number): void {
    const reader = this.#readers[level] as Reader;
    for (let p = start + 1; p < end; p++) {
      const c = text[p] as number;
      if (this.#starts[c] === 0) continue;
      // A view of the text has one round behind it already.
      for (let rounds = INTRODUCES[c] === 1 ? ROUNDS - level : 0; rounds >= 0; rounds--) {
        const first = reader.unit(p, rounds);
        if (first === UNDECIDED) this.#holdAt(this.#inText(level, p), this.#inText(level, start));
        if (first <= 0) continue;
        const starting = this.#plain.startingWith(reader.bytes[0] as number);
        if (starting.length === 0) continue;
        for (const spelling of starting) {
          const at = this.#inText(level, p);
          this.#settle(spelling, at, at, -1, this.#inText(level, start));
        }
      }
    }
  }

  #settleHits(text: Buffer, to: number, final: boolean): void {
    (this.#readers[0] as Reader).over(text, to, final);
    for (const { spelling, at, start, lead } of hits) this.#settle(spelling, at, start, lead, start);
  }

  /** Adds the match of a spelling, if it stands at `at`; `base`: where to start again if that is not clear yet. */
  #settle(spelling: Spelling, at: number, start: number, lead: number, base: number): void {
    const reader = this.#readers[0] as Reader;
    const end = reader.read(spelling, at);
    if (end === UNDECIDED) this.#holdAt(start, base);
    if (end > 0)
      found.push({ start, end, spelling, lead, trail: reader.trail, sample: reader.sample(spelling) });
  }

  #holdAt(at: number, base: number): void {
    finding.hold = Math.min(finding.hold, at);
    finding.base = Math.min(finding.base, base);
  }

  /** Where the source of what stands at `p` of a level starts in the text. */
  #inText(level: number, p: number): number {
    let at = p;
    for (let n = level - 1; n >= 0; n--) at = (this.#views[n] as View).sourceStart(at);
    return at;
  }

  /** Where the bytes before `p` start that may be part of a match. */
  #runStart(text: Buffer, p: number, from: number): number {
    let start = p;
    while (start > from && this.#worth[text[start - 1] as number] !== NOTHING) start--;
    return start;
  }

  /** Where the outermost source of what stands at `p` starts: decoding from there on reads the same. */
  #tokenStart(level: number, p: number): number {
    if (level === ROUNDS || this.#hasEscapes[level] === false) return p;
    const view = this.#views[level] as View;
    const isShown = this.#open[level] === true && p >= view.start;
    if (!isShown) return (this.#seekers[level] as Seeker).tokenStart(p);
    return view.sourceStart(this.#tokenStart(level + 1, view.indexOf(p)));
  }
}

/** What of a secret is worth something by itself, or names it. */
function partsOf(secret: Secret): readonly Secret[] {
  const { awsKeys } = secret;
  if (!awsKeys) return [secret];
  const { id, secretKey, token } = awsKeys;
  return token ? [id, secretKey, token] : [id, secretKey];
}

/** What a secret is looked for as. */
interface Prepared {
  readonly plain: readonly Spelling[];
  readonly inView: readonly Spelling[];
  /** The bytes that stand for themselves in a view of any spelling. */
  readonly decoded: ReadonlySet<number>;
}

/** A key in PEM has hundreds of spellings, and stands in the patterns of many sessions, beside the tokens of each. */
const preparations = new WeakMap<Secret, Prepared>();

function prepare(secret: Secret, which: 'all' | 'encoded' = 'all'): Prepared {
  let prepared = preparations.get(secret);
  if (!prepared) {
    const plain = spellings(secret).filter(({ encoding }) => which === 'all' || encoding !== 'plain');
    const decoded = new Set(plain.flatMap(spelling => [...new Set(decodedBytes(spelling))]));
    preparations.set(secret, (prepared = { plain, inView: plain.flatMap(misread), decoded }));
  }
  return prepared;
}

function unique(spellings: readonly Spelling[]): Spelling[] {
  const byBytes = new Map<string, Spelling>();
  for (const s of spellings) {
    const id = [s.encoding, s.shift, s.literal.toString('hex'), s.bytes.toString('hex')].join(' ');
    if (!byBytes.has(id)) byBytes.set(id, s);
  }
  return [...byBytes.values()];
}
