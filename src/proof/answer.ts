import { Buffer } from 'node:buffer';
import { decoded } from './search.ts';

/** What came back. */
export interface Seen {
  /** 0: no answer. */
  readonly status: number;
  /** Of the gate's own refusal. */
  readonly reason: string | undefined;
  /** Every byte, in the order of its coming, and readings of them that a client makes; by place, such as `body`. */
  readonly places: ReadonlyMap<string, Buffer>;
}

const HEAD_END = '\r\n\r\n';

/**
 * An answer in HTTP/1.1 (RFC 9112), taken apart so that every byte of it stands in one named place. Lenient: what it
 * cannot read it keeps.
 */
export class Answer {
  readonly #isHead: boolean;
  /** Behind the parts that have been told apart. */
  #rest = '';
  readonly #interim: string[] = [];
  #head: string | undefined;
  /** Bytes of the body that are to come; `chunked`; `close`: until the connection ends. */
  #framing: number | 'chunked' | 'close' = 0;
  readonly #chunkLines: string[] = [];
  readonly #body: string[] = [];
  #trailers = '';
  #isWhole = false;

  constructor(method: string) {
    this.#isHead = method === 'HEAD';
  }

  /** Whether something of it has come. */
  get hasBegun(): boolean {
    return this.#head !== undefined || this.#interim.length > 0 || this.#rest !== '';
  }

  /** Whether another request may follow on its connection. */
  get keepsConnection(): boolean {
    return this.#isWhole && this.#rest === '' && !/^connection: *close\r?$/im.test(this.#head ?? '');
  }

  /** Takes what came; true once the answer is whole. */
  read(piece: Buffer): boolean {
    this.#rest += piece.toString('latin1');
    while (!this.#isWhole && (this.#head === undefined ? this.#readHead() : this.#readBody()));
    return this.#isWhole;
  }

  seen(): Seen {
    const head = this.#head ?? '';
    const line = head.split('\r\n', 1)[0] ?? '';
    const body = Buffer.from(this.#body.join(''), 'latin1');
    const texts: Record<string, string> = {
      'interim answer': this.#interim.join('\n'),
      'status line': line,
      headers: head.slice(line.length + 2),
      'chunk lines': this.#chunkLines.join('\n'),
      trailers: this.#trailers,
      'bytes behind the answer': this.#rest,
    };
    const places = new Map(
      Object.entries(texts)
        .filter(([, text]) => text !== '')
        .map(([place, text]) => [place, Buffer.from(text, 'latin1')] as const),
    );
    return {
      status: Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0),
      reason: fieldOf(head, 'stubgate-reason'),
      places: withBody(places, body, fieldOf(head, 'content-encoding')),
    };
  }

  /** The next head, interim or final; false: it is not whole yet. */
  #readHead(): boolean {
    const end = this.#rest.indexOf(HEAD_END);
    if (end < 0) return false;
    const head = this.#take(end + HEAD_END.length).slice(0, end);
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0);
    if (status >= 100 && status < 200 && status !== 101) this.#interim.push(head);
    else {
      this.#head = head;
      this.#framing = this.#framingOf(head, status);
      this.#isWhole = this.#framing === 0;
    }
    return true;
  }

  #framingOf(head: string, status: number): number | 'chunked' | 'close' {
    if (this.#isHead || status === 204 || status === 304 || status === 101) return 0;
    if (/chunked$/i.test(fieldOf(head, 'transfer-encoding') ?? '')) return 'chunked';
    const length = fieldOf(head, 'content-length');
    return length === undefined ? 'close' : Number(length);
  }

  #readBody(): boolean {
    if (this.#framing === 'chunked') return this.#readChunk();
    const taken = this.#take(this.#framing === 'close' ? this.#rest.length : this.#framing);
    this.#body.push(taken);
    if (this.#framing === 'close') return false;
    this.#framing -= taken.length;
    this.#isWhole = this.#framing === 0;
    return false;
  }

  /** A chunk, or the last one with the trailers (RFC 9112, section 7.1); false: it is not whole yet. */
  #readChunk(): boolean {
    const line = this.#rest.indexOf('\r\n');
    if (line < 0) return false;
    const text = this.#rest.slice(0, line);
    const size = Number.parseInt(text, 16);
    if (Number.isNaN(size)) {
      this.#framing = 'close';
      return true;
    }
    if (size === 0) return this.#readTrailers(line);
    if (this.#rest.length < line + 2 + size + 2) return false;
    this.#take(line + 2);
    if (!/^[0-9a-f]{1,8}$/i.test(text)) this.#chunkLines.push(text);
    this.#body.push(this.#take(size));
    this.#take(2);
    return true;
  }

  #readTrailers(line: number): boolean {
    const isBare = this.#rest.startsWith('\r\n', line + 2);
    const end = isBare ? line : this.#rest.indexOf(HEAD_END, line);
    if (end < 0) return false;
    this.#trailers = this.#take(end + HEAD_END.length).slice(line + 2, end);
    this.#isWhole = true;
    return true;
  }

  #take(length: number): string {
    const taken = this.#rest.slice(0, length);
    this.#rest = this.#rest.slice(length);
    return taken;
  }
}

/** A field in lines of `name: value`. */
export function fieldOf(lines: string, name: string): string | undefined {
  return new RegExp(`^${name}: *(.*?)\r?$`, 'im').exec(lines)?.[1];
}

/** Adds the body, and how a client reads it. */
export function withBody(
  places: Map<string, Buffer>,
  body: Buffer,
  coding: string | undefined,
): Map<string, Buffer> {
  if (body.length > 0) places.set('body', body);
  if (coding !== undefined) {
    const codings = coding.split(',').map(one => one.trim().replace('x-', ''));
    places.set('decoded body', decoded(body, codings));
  }
  return places;
}
