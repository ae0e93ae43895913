import { Refusal } from '../errors.ts';
import { percentDecode } from '../inject/percent.ts';
import { Secret } from '../secret.ts';
import type { Captured } from '../types.ts';

/** One captured secret, as gates tell it to each other. Times: ms since the epoch. */
export interface CaptureRecord {
  /** Of its capture; safe to log. */
  readonly id: string;
  readonly credential: string;
  readonly stub: string;
  /** What stands for the stub where it is injected. */
  readonly standsAs: string;
  readonly value: string;
  /** Absent: with the session. */
  readonly endsAt?: number;
}

interface Entry extends Omit<CaptureRecord, 'value'> {
  readonly secret: Secret;
  /** What it is once its percent-encoding is undone, as frameworks do with cookies; it is looked for, too. */
  readonly decoded: Secret | undefined;
  endsAt?: number;
  /** That the other gates know; undefined: they do not know it at all. */
  sharedUntil?: number;
}

/**
 * Of one session, and their characters together: all are looked for in all of its traffic, and each new one costs another
 * compilation of the patterns (70 ms for so many characters).
 */
export const MAX_CAPTURED = 64;
const MAX_LENGTH = 64 * 1024;
/** What can be told from any other text. */
const FINDABLE = /^[\x21-\x7e]{8,}$/;
/** For answers that were under way when the last one came. */
const MAX_BEYOND = 2 * MAX_CAPTURED;
/** How long a value is still looked for once its time is over. */
const REMEMBER_MS = 3_600_000;

/** What one session captured, on whichever gate. */
export class Held implements Captured {
  version = 0;
  readonly #entries = new Map<string, Entry>();
  /** Stub, or what stands for it → entry. */
  readonly #byText = new Map<string, Entry>();
  readonly #now: () => number;
  #known: readonly Secret[] = [];
  #length = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  known(): readonly Secret[] {
    return this.#known;
  }

  stubAt(credential: string, text: string): string | undefined {
    const entry = this.#byText.get(text);
    return entry?.credential === credential && entry.standsAs === text ? entry.stub : undefined;
  }

  secret(credential: string, stub: string): Secret | undefined {
    const entry = this.#byText.get(stub);
    if (entry?.credential !== credential) return undefined;
    if (entry.endsAt === undefined || this.#now() < entry.endsAt) return entry.secret;
    throw new Refusal('credential_unavailable', {
      message: 'The time of the credential that this stub stands for is over',
      hint: 'Log in again, or refresh it',
    });
  }

  stubFor(name: string): string | undefined {
    return this.#entries.get(name)?.stub;
  }

  get isFull(): boolean {
    if (this.#hasRoom(MAX_CAPTURED)) return false;
    this.#forget(this.#now());
    return !this.#hasRoom(MAX_CAPTURED);
  }

  /** More were asked for at once than there is room for. */
  get isBursting(): boolean {
    return this.#entries.size >= MAX_BEYOND;
  }

  #hasRoom(most: number): boolean {
    return this.#entries.size < most && this.#length < MAX_LENGTH;
  }

  /** What was made of that value before, good for as long as the new one would be. */
  again(credential: string, value: string, endsAt: number | undefined): CaptureRecord | undefined {
    const secret = new Secret('', value);
    const same = [...this.#entries.values()].find(
      entry => entry.credential === credential && entry.secret.equals(secret),
    );
    if (!same) return undefined;
    lengthen(same, endsAt);
    const { id, stub, standsAs } = same;
    const record = { id, credential, stub, standsAs, value };
    return same.endsAt === undefined ? record : { ...record, endsAt: same.endsAt };
  }

  add(record: CaptureRecord): void {
    this.#put(record);
    this.#changed();
    this.#forget(this.#now() - REMEMBER_MS);
  }

  /** Takes over what the other gates know. */
  learn(records: readonly CaptureRecord[]): void {
    const before = this.#entries.size;
    for (const record of records) {
      const entry = this.#entries.get(nameOf(record)) ?? this.#put(record);
      lengthen(entry, record.endsAt);
      entry.sharedUntil = Math.max(entry.sharedUntil ?? 0, untilOf(record));
    }
    if (this.#entries.size > before) this.#changed();
    this.#forget(this.#now() - REMEMBER_MS);
  }

  /** The other gates know it, and for how long. */
  isShared(record: CaptureRecord): boolean {
    return (this.#entries.get(nameOf(record))?.sharedUntil ?? 0) >= untilOf(record);
  }

  #put({ value, ...record }: CaptureRecord): Entry {
    const name = nameOf(record);
    const secret = new Secret(name, value, record.id);
    const plain = /%[0-9a-f]{2}/i.test(value) ? percentDecode(value) : value;
    const isOther = plain !== value && FINDABLE.test(plain);
    const entry: Entry = { ...record, secret, decoded: isOther ? secret.as(plain) : undefined };
    this.#entries.set(name, entry);
    this.#byText.set(record.stub, entry).set(record.standsAs, entry);
    return entry;
  }

  /** Those whose time was over by then. */
  #forget(before: number): void {
    let isChanged = false;
    for (const [name, { endsAt, stub, standsAs }] of this.#entries) {
      if (endsAt === undefined || endsAt > before) continue;
      this.#entries.delete(name);
      this.#byText.delete(stub);
      this.#byText.delete(standsAs);
      isChanged = true;
    }
    if (isChanged) this.#changed();
  }

  #changed(): void {
    this.#known = [...this.#entries.values()].flatMap(({ secret, decoded }) =>
      decoded ? [secret, decoded] : [secret],
    );
    this.#length = this.#known.reduce((sum, { length }) => sum + length, 0);
    this.version++;
  }
}

/** What gates share: each once, good for the longest time that any of them gave it. */
export function merged(
  before: readonly CaptureRecord[],
  own: readonly CaptureRecord[],
  now: number,
): CaptureRecord[] {
  const all = new Map<string, CaptureRecord>();
  for (const record of [...before, ...own]) {
    const known = all.get(nameOf(record));
    if (!known || untilOf(record) > untilOf(known)) all.set(nameOf(record), record);
  }
  return [...all.values()].filter(record => untilOf(record) > now - REMEMBER_MS);
}

/** No credential's name holds a colon; the stub of a value is found by it. */
const nameOf = ({ credential, id }: Pick<CaptureRecord, 'credential' | 'id'>): string =>
  `${credential}:${id}`;

const untilOf = ({ endsAt }: Pick<CaptureRecord, 'endsAt'>): number => endsAt ?? Number.POSITIVE_INFINITY;

function lengthen(entry: Entry, endsAt: number | undefined): void {
  if (endsAt === undefined) delete entry.endsAt;
  else if (entry.endsAt !== undefined) entry.endsAt = Math.max(entry.endsAt, endsAt);
}
