import { Buffer, isUtf8 } from 'node:buffer';

const NOTHING: Buffer = Buffer.alloc(0);

/** Whether a text that comes in pieces is UTF-8 (RFC 3629), told as soon as no further byte could make it right. */
export class Utf8 {
  /** The start of a character whose rest has not come: up to 3 bytes. */
  #begun = NOTHING;

  /** False: the text is not UTF-8. */
  push(chunk: Buffer): boolean {
    const text = this.#begun.length === 0 ? chunk : Buffer.concat([this.#begun, chunk]);
    const whole = wholeLength(text);
    // A copy: the chunk's memory is its owner's.
    this.#begun = whole === text.length ? NOTHING : Buffer.from(text.subarray(whole));
    if (!isUtf8(whole === text.length ? text : text.subarray(0, whole))) return false;
    return this.#begun.length === 0 || mayGoOn(this.#begun);
  }

  /** No character is unfinished. */
  get complete(): boolean {
    return this.#begun.length === 0;
  }
}

/** Bytes before a last character that is not there to its end; all of them where there is none such. */
function wholeLength(text: Buffer): number {
  for (let back = 1; back <= 3 && back <= text.length; back++) {
    const byte = text[text.length - back] as number;
    if (byte >= 0xc0) return lengthOf(byte) > back ? text.length - back : text.length;
    if (byte < 0x80) break;
  }
  return text.length;
}

/** Bytes of a character, by its first one; 0xF8 and above begin none, and are told by `isUtf8`. */
function lengthOf(first: number): number {
  if (first >= 0xf8) return 1;
  return first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
}

/** Whether some character starts with these bytes: completed with the lowest bytes that may follow, they must be one. */
function mayGoOn(begun: Buffer): boolean {
  const first = begun[0] as number;
  const character = Buffer.alloc(lengthOf(first), 0x80);
  // The lowest second bytes (RFC 3629, section 4).
  if (first === 0xe0) character[1] = 0xa0;
  if (first === 0xf0) character[1] = 0x90;
  character.set(begun);
  return isUtf8(character);
}
