// HPACK (RFC 7541), written from the RFC and independent of nghttp2: what a block says, and every way to say it.

export type Field = readonly [name: string, value: string];

/** Appendix A: index 1 is the first. */
export const STATIC: readonly Field[] = [
  ':authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https|:status 200|:status 204',
  ':status 206|:status 304|:status 400|:status 404|:status 500|accept-charset|accept-encoding gzip, deflate',
  'accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|authorization|cache-control',
  'content-disposition|content-encoding|content-language|content-length|content-location|content-range|content-type',
  'cookie|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since',
  'last-modified|link|location|max-forwards|proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after',
  'server|set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate',
]
  .flatMap(line => line.split('|'))
  .map(entry => {
    const space = entry.indexOf(' ');
    return space < 0 ? ([entry, ''] as const) : ([entry.slice(0, space), entry.slice(space + 1)] as const);
  });

/** Appendix B: bits of the code of each byte, and of EOS; codes of one length rise with the byte. */
const CODE_BITS = [
  [13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28],
  [28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28],
  [6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6],
  [5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10],
  [13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7],
  [7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6],
  [15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5],
  [6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28],
  [20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23],
  [24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24],
  [22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23],
  [21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23],
  [26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25],
  [19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27],
  [20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23],
  [26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26],
  [30],
].flat();
const EOS = 256;
const CODES: readonly string[] = codes();
const SYMBOLS = new Map(CODES.map((code, symbol) => [code, symbol]));

function codes(): string[] {
  const bySize = CODE_BITS.map((bits, symbol) => ({ bits, symbol })).toSorted(
    (a, b) => a.bits - b.bits || a.symbol - b.symbol,
  );
  const found: string[] = [];
  let code = 0;
  let size = 0;
  for (const { bits, symbol } of bySize) {
    code *= 2 ** (bits - size);
    size = bits;
    found[symbol] = code.toString(2).padStart(bits, '0');
    code++;
  }
  if (code !== 2 ** size) throw new Error('not a complete code');
  return found;
}

export function huffman(text: string, padding = '1'): Buffer {
  let bits = Array.from(Buffer.from(text, 'latin1'), byte => CODES[byte]).join('');
  while (bits.length % 8 !== 0) bits += padding;
  return Buffer.from((bits.match(/.{8}/g) ?? []).map(byte => Number.parseInt(byte, 2)));
}

function unhuffman(bytes: Buffer): string {
  const found: number[] = [];
  let code = '';
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      code += (byte >> bit) & 1;
      const symbol = SYMBOLS.get(code);
      if (symbol === EOS) throw new Error('EOS in a string');
      if (symbol === undefined) continue;
      found.push(symbol);
      code = '';
    }
  }
  if (code.length > 7 || code.includes('0')) throw new Error('a padding that is none');
  return Buffer.from(found).toString('latin1');
}

/** Section 5.1: `prefix` bits of the first byte, the others as `flags` has them. */
export function integer(value: number, prefix: number, flags: number): Buffer {
  const most = 2 ** prefix - 1;
  if (value < most) return Buffer.of(flags | value);
  const bytes = [flags | most];
  let rest = value - most;
  for (; rest >= 128; rest = Math.trunc(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

/** Section 5.2. */
export function string(text: string, isHuffman: boolean): Buffer {
  const bytes = isHuffman ? huffman(text) : Buffer.from(text, 'latin1');
  return Buffer.concat([integer(bytes.length, 7, isHuffman ? 128 : 0), bytes]);
}

const sizeOf = ([name, value]: Field): number => name.length + value.length + 32;
const FIRST_SIZE = 4096;

/** One direction of a connection: the table that both of its ends keep. */
export class Table {
  readonly #limit: number;
  #fields: Field[] = [];
  #size = FIRST_SIZE;

  /** `limit`: bytes that a size update may ask for. */
  constructor(limit = FIRST_SIZE) {
    this.#limit = limit;
  }

  /** Index of a field, or of its name; 0: none. */
  find(name: string, value?: string): number {
    const is = (field: Field): boolean => field[0] === name && (value === undefined || field[1] === value);
    return [...STATIC, ...this.#fields].findIndex(is) + 1;
  }

  get length(): number {
    return STATIC.length + this.#fields.length;
  }

  add(field: Field): void {
    this.#fields.unshift(field);
    this.#evict();
  }

  resize(size: number): void {
    if (size > this.#limit) throw new Error(`a table of ${size} bytes`);
    this.#size = size;
    this.#evict();
  }

  at(index: number): Field {
    const field = [...STATIC, ...this.#fields][index - 1];
    if (!field) throw new Error(`no field ${index}`);
    return field;
  }

  #evict(): void {
    let size = this.#fields.reduce((sum, field) => sum + sizeOf(field), 0);
    while (size > this.#size) size -= sizeOf(this.#fields.pop() as Field);
  }

  /** The fields of one block. Throws for what is none. */
  read(block: Buffer): Field[] {
    const fields: Field[] = [];
    const cursor = new Cursor(block);
    while (!cursor.isAtEnd) {
      const first = cursor.peek();
      if (first & 0x80) {
        fields.push(this.at(cursor.integer(7)));
      } else if ((first & 0xe0) === 0x20) {
        if (fields.length > 0) throw new Error('a size update behind a field');
        this.resize(cursor.integer(5));
      } else {
        const isKept = (first & 0x40) !== 0;
        const index = cursor.integer(isKept ? 6 : 4);
        const name = index === 0 ? cursor.string() : this.at(index)[0];
        const field: Field = [name, cursor.string()];
        if (isKept) this.add(field);
        fields.push(field);
      }
    }
    return fields;
  }
}

class Cursor {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  peek(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw new Error('a block that is cut');
    return byte;
  }

  integer(prefix: number): number {
    const most = 2 ** prefix - 1;
    let value = this.peek() & most;
    this.#at++;
    if (value < most) return value;
    for (let factor = 1; ; factor *= 128) {
      const byte = this.peek();
      this.#at++;
      value += (byte & 127) * factor;
      if (value > 2 ** 31) throw new Error('an integer that is too large');
      if (byte < 128) return value;
    }
  }

  string(): string {
    const isHuffman = (this.peek() & 0x80) !== 0;
    const length = this.integer(7);
    const bytes = this.#bytes.subarray(this.#at, this.#at + length);
    if (bytes.length < length) throw new Error('a string that is cut');
    this.#at += length;
    return isHuffman ? unhuffman(bytes) : bytes.toString('latin1');
  }
}
