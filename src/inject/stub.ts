import { Buffer } from 'node:buffer';
import { createHmac, hkdfSync } from 'node:crypto';
import { randomBase62, toBase32, toBase62 } from './base62.ts';
import { percentDecode } from './percent.ts';
import { type Shape, TAG_LENGTH } from './shape.ts';

const MARKER_LENGTH = 5;
const MAC_LENGTH = 9;
/** Of an access key id, whose alphabet is smaller. */
const ID_NONCE_LENGTH = 5;
const ID_MAC_LENGTH = 6;
const ID_TAG_LENGTH = MARKER_LENGTH + ID_NONCE_LENGTH + ID_MAC_LENGTH;
/** Candidates in one text or body that are verified; an honest text holds few, so further ones count as they are. */
const MAX_VERIFIED = 64;
/** Verified tags that are remembered, so that a stub in use costs no HMAC. */
const MAX_REMEMBERED = 4096;

/** The key of a gate's stubs: it outlives a restart as long as the CA does. 32 bytes. */
export function deriveKey(caPrivateKeyDer: Buffer): Buffer {
  return Buffer.from(hkdfSync('sha256', caPrivateKeyDer, Buffer.alloc(0), 'stubgate stub v1', 32));
}

/** A spelling of the marker, and how the tag is read where it stands. */
export interface Needle {
  readonly text: string;
  readonly bytes: Buffer;
  /** The tag's spelling: characters from the needle's start. */
  readonly span: number;
  tagAt(text: string, at: number): string;
}

/**
 * The maker and the judge of a gate's stubs. The longest random part of a stub begins with a tag of 20 characters:
 * a marker (5, the same in all stubs of the gate), a nonce (6) and a MAC (9: 53 bits of HMAC-SHA-256 over both).
 * So a stub is known wherever it stands, whole or cut, of any session, revoked or not, without a table of stubs.
 * AWS keys are two texts: the stub is the secret access key, and makes its access key id, of which 16 characters are a
 * tag, too: marker, nonce (5) and MAC (6: 30 bits).
 */
export class StubKey {
  readonly marker: string;
  /** The marker in plain and in base64 at its three alignments. */
  readonly needles: readonly Needle[];
  /** Characters of a tag's longest spelling. */
  readonly span: number;
  readonly #key: Buffer;
  readonly #verified = new Set<string>();

  constructor(key: Buffer) {
    this.#key = key;
    this.marker = markerOf(this.#hmac('marker'));
    this.needles = [plainNeedle(this.marker), ...[0, 1, 2].map(before => base64Needle(this.marker, before))];
    this.span = Math.max(...this.needles.map(needle => needle.span));
  }

  /** A new stub of that shape. */
  mint(shape: Shape): string {
    const longest = Math.max(...shape.parts.filter(part => typeof part === 'number'));
    const place = shape.parts.indexOf(longest);
    return shape.parts
      .map((part, i) => {
        if (typeof part === 'string') return part;
        return i === place ? this.#tag() + randomBase62(part - TAG_LENGTH) : randomBase62(part);
      })
      .join('');
  }

  /**
   * Stubs in a latin1 text: in plain and in base64 (either alphabet, any alignment), under up to two rounds of
   * percent-encoding. Decoding cannot hide a stub that stands there unencoded: see `markerOf`.
   */
  count(text: string): number {
    const view = text.includes('%') ? percentDecode(percentDecode(text)) : text;
    let candidates = 0;
    let seen = 0;
    for (const needle of this.needles) {
      let at = view.indexOf(needle.text);
      while (at >= 0) {
        if (++candidates > MAX_VERIFIED || this.isTag(needle.tagAt(view, at))) seen++;
        at = view.indexOf(needle.text, at + 1);
      }
    }
    return seen;
  }

  /** `AKIA` and 16 characters of base32, as AWS issues them; of one stub always the same. */
  accessKeyId(stub: string): string {
    const text = this.marker + toBase32(this.#hmac(`aws id ${stub}`).subarray(0, ID_NONCE_LENGTH));
    return `AKIA${text}${this.#idMac(text)}`;
  }

  /** As long as a client may need one, not as long as those of AWS; of one stub always the same. */
  sessionToken(stub: string): string {
    const nonce = toBase62(this.#hmac(`aws token ${stub}`), TAG_LENGTH - MARKER_LENGTH - MAC_LENGTH);
    const text = this.marker + nonce;
    return `IQoJb3JpZ2luX2Vj${text}${this.#mac(text)}`;
  }

  /** Whether a text of 20 characters is, or one of 16 or more begins with, the tag of one of this gate's stubs. */
  isTag(tag: string): boolean {
    if (this.#verified.has(tag)) return true;
    if (!this.#isStubTag(tag) && !this.#isIdTag(tag)) return false;
    if (this.#verified.size >= MAX_REMEMBERED) this.#verified.clear();
    // A copy: a slice would keep the whole text that it was cut from.
    this.#verified.add(Buffer.from(tag, 'latin1').toString('latin1'));
    return true;
  }

  #isStubTag(tag: string): boolean {
    const bound = TAG_LENGTH - MAC_LENGTH;
    return tag.length === TAG_LENGTH && this.#mac(tag.slice(0, bound)) === tag.slice(bound);
  }

  #isIdTag(tag: string): boolean {
    const bound = ID_TAG_LENGTH - ID_MAC_LENGTH;
    return (
      tag.length >= ID_TAG_LENGTH && this.#idMac(tag.slice(0, bound)) === tag.slice(bound, ID_TAG_LENGTH)
    );
  }

  #idMac(text: string): string {
    return toBase32(this.#hmac(`aws id ${text}`).subarray(0, ID_MAC_LENGTH));
  }

  #tag(): string {
    const text = this.marker + randomBase62(TAG_LENGTH - MARKER_LENGTH - MAC_LENGTH);
    return text + this.#mac(text);
  }

  #mac(text: string): string {
    return toBase62(this.#hmac(text), MAC_LENGTH);
  }

  #hmac(text: string): Buffer {
    return createHmac('sha256', this.#key).update(text, 'latin1').digest();
  }
}

/** Stubs in a body that arrives in chunks, in plain and in base64, wherever it is cut. */
export class StubCounter {
  readonly #key: StubKey;
  /** The last bytes seen, too few to hold a tag's longest spelling: what begins there is counted with the next chunk. */
  #carry: Buffer = Buffer.alloc(0);
  #candidates = 0;
  #seen = 0;

  constructor(key: StubKey) {
    this.#key = key;
  }

  feed(chunk: Buffer): void {
    const held = this.#key.span - 1;
    if (chunk.length < held) {
      const text = Buffer.concat([this.#carry, chunk]);
      const settled = Math.max(0, text.length - held);
      this.#seen += this.#count(text, settled);
      this.#carry = text.subarray(settled);
      return;
    }
    if (this.#carry.length > 0) {
      const seam = Buffer.concat([this.#carry, chunk.subarray(0, held)]);
      this.#seen += this.#count(seam, this.#carry.length);
    }
    const settled = chunk.length - held;
    this.#seen += this.#count(chunk, settled);
    // A copy: the chunk's memory is its owner's.
    this.#carry = Buffer.from(chunk.subarray(settled));
  }

  /** Stubs so far, as if the body ended here. */
  get seen(): number {
    return this.#seen + this.#count(this.#carry, this.#carry.length);
  }

  /** Stubs that begin before `end`. */
  #count(text: Buffer, end: number): number {
    let seen = 0;
    if (text.length < TAG_LENGTH) return seen;
    for (const needle of this.#key.needles) {
      let at = text.indexOf(needle.bytes);
      while (at >= 0 && at < end) {
        const tag = needle.tagAt(text.toString('latin1', at, at + needle.span), 0);
        if (++this.#candidates > MAX_VERIFIED || this.#key.isTag(tag)) seen++;
        at = text.indexOf(needle.bytes, at + 1);
      }
    }
    return seen;
  }
}

/**
 * It begins with R to V because then neither it nor any of its base64 cores begins with a hexadecimal digit: no `%`
 * put before it can make a percent-decoder swallow it. Those letters are also rare in text, which makes the search fast.
 * The others are upper case or digits, so that it can stand in an access key id.
 */
function markerOf(bytes: Buffer): string {
  return 'RSTUV'.charAt(bytes.readUInt32BE(0) % 5) + toBase32(bytes.subarray(4, MARKER_LENGTH + 3));
}

function plainNeedle(marker: string): Needle {
  return {
    text: marker,
    bytes: Buffer.from(marker, 'latin1'),
    span: TAG_LENGTH,
    tagAt: (text, at) => text.slice(at, at + TAG_LENGTH),
  };
}

/** The six base64 characters that the marker alone decides, when `before` bytes (mod 3) stand before it. */
function base64Needle(marker: string, before: number): Needle {
  const first = Math.ceil((before * 8) / 6);
  const core = Buffer.from('\0'.repeat(before) + marker, 'latin1')
    .toString('base64')
    .slice(first, first + 6);
  // Decoding starts at the last group of four characters that begins inside the core, `marked` marker bytes before its end.
  const group = Math.floor((first + 6) / 4) * 4;
  const skip = group - first;
  const marked = before + MARKER_LENGTH - (group / 4) * 3;
  const chars = Math.ceil(((marked + TAG_LENGTH - MARKER_LENGTH) * 8) / 6);
  return {
    text: core,
    bytes: Buffer.from(core, 'latin1'),
    span: skip + chars,
    tagAt: (text, at) => {
      const decoded = Buffer.from(text.slice(at + skip, at + skip + chars), 'base64');
      return marker + decoded.toString('latin1', marked, marked + TAG_LENGTH - MARKER_LENGTH);
    },
  };
}
