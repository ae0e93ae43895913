import { Buffer } from 'node:buffer';
import { Refusal } from '../../errors.ts';
import type { BodyStage, RawHeaders, Sink } from '../../types.ts';
import type { Signer } from './signer.ts';
import { differentBody, invalid, isSame } from './verify.ts';

/** Who signs what the client has signed, and how much of it is held at a time. */
export interface Resigning {
  /** With the stub, behind the client's signature of the head. */
  readonly client: Signer;
  /** With the credential, behind the gate's. */
  readonly gate: Signer;
  readonly hasTrailer: boolean;
  /** Bytes of a chunk. */
  readonly limit: number;
}

/** `<hex size>;chunk-signature=<hex>` */
const SIZE = /^([0-9a-fA-F]{1,8});chunk-signature=([0-9a-f]{64})$/;
/** `name:value`, as S3 shows it. */
const TRAILER = /^([A-Za-z0-9-]{1,64}):([\x20-\x7e]{0,1024})$/;
const SIGNATURE = 'x-amz-trailer-signature';
const CR = 0x0d;
const LF = 0x0a;
const NOTHING = Buffer.alloc(0);
const MAX_LINE = 2048;
const MAX_TAIL = 8192;

/**
 * An `aws-chunked` body on its way (S3 API, "Signature calculations … chunked upload"): each chunk is forwarded once its
 * signature proved right, with one of the gate's.
 */
export function chunked(resigning: Resigning): BodyStage {
  return (next, refuse) => new Chunked(resigning, next, refuse);
}

class Chunked implements Sink {
  readonly #of: Resigning;
  readonly #next: Sink;
  readonly #refuse: (refusal: Refusal) => void;
  #isRefused = false;
  /** The line that is being read. */
  #line = '';
  #size = '';
  #signature = '';
  /** A chunk's data and the line break behind it. */
  #data: Buffer | null = null;
  #filled = 0;
  /** From the last chunk on, which is empty: rewritten, and as it is signed. */
  #tail = '';
  #trailers = '';
  #isTailSigned = false;
  #isOver = false;
  /** To be forwarded. */
  #ready: Buffer[] = [];

  constructor(of: Resigning, next: Sink, refuse: (refusal: Refusal) => void) {
    this.#of = of;
    this.#next = next;
    this.#refuse = refuse;
  }

  get onDrain(): (() => void) | null {
    return this.#next.onDrain;
  }

  set onDrain(listener: (() => void) | null) {
    this.#next.onDrain = listener;
  }

  write(chunk: Buffer): boolean {
    if (this.#isRefused) return true;
    let wantsMore = true;
    let at = 0;
    try {
      while (at < chunk.length) {
        at = this.#data ? this.#fill(this.#data, chunk, at) : this.#readLine(chunk, at);
        const ready = this.#ready;
        this.#ready = [];
        for (const bytes of ready) wantsMore = this.#next.write(bytes) && wantsMore;
      }
    } catch (thrown) {
      this.#fail(thrown as Refusal);
    }
    return wantsMore;
  }

  end(trailers: RawHeaders): void {
    if (this.#isRefused) return;
    if (this.#isOver) this.#next.end(trailers);
    else this.#fail(malformed());
  }

  abort(cause: Error): void {
    if (!this.#isRefused) this.#next.abort(cause);
  }

  #fail(refusal: Refusal): void {
    this.#isRefused = true;
    this.#refuse(refusal);
  }

  #readLine(chunk: Buffer, at: number): number {
    const feed = chunk.indexOf(LF, at);
    const end = feed < 0 ? chunk.length : feed + 1;
    if (this.#isOver || this.#line.length + end - at > MAX_LINE) throw malformed();
    this.#line += chunk.toString('latin1', at, end);
    if (feed < 0) return end;
    if (!this.#line.endsWith('\r\n')) throw malformed();
    const line = this.#line.slice(0, -2);
    this.#line = '';
    if (this.#tail === '') this.#begin(line);
    else this.#readTrailer(line);
    return end;
  }

  /** A chunk's first line. */
  #begin(line: string): void {
    const [, size, signature] = SIZE.exec(line) ?? [];
    if (size === undefined || signature === undefined) throw malformed();
    this.#size = size;
    this.#signature = signature;
    const length = Number.parseInt(size, 16);
    const { limit } = this.#of;
    if (length > limit)
      throw new Refusal('body_too_large', {
        message: `A chunk of the body is larger than the ${limit} bytes that this rule takes`,
      });
    this.#filled = 0;
    if (length > 0) this.#data = Buffer.allocUnsafe(length + 2);
    else this.#tail = this.#resigned(NOTHING);
  }

  #fill(data: Buffer, chunk: Buffer, at: number): number {
    const copied = chunk.copy(data, this.#filled, at);
    this.#filled += copied;
    if (this.#filled === data.length) {
      if (data[data.length - 2] !== CR || data[data.length - 1] !== LF) throw malformed();
      this.#data = null;
      this.#ready.push(Buffer.from(this.#resigned(data.subarray(0, -2)), 'latin1'), data);
    }
    return at + copied;
  }

  /** The chunk's first line with the gate's signature, if the client's is right. */
  #resigned(data: Buffer): string {
    const { client, gate } = this.#of;
    if (!isSame(client.chunk(data), this.#signature)) throw differentBody();
    return `${this.#size};chunk-signature=${gate.chunk(data)}\r\n`;
  }

  #readTrailer(line: string): void {
    const { client, gate, hasTrailer } = this.#of;
    if (line === '') {
      if (hasTrailer && !this.#isTailSigned) throw malformed();
      this.#isOver = true;
      this.#ready.push(Buffer.from(`${this.#tail}\r\n`, 'latin1'));
      return;
    }
    const [, name = '', value = ''] = TRAILER.exec(line) ?? [];
    if (!hasTrailer || this.#isTailSigned || name === '' || this.#tail.length > MAX_TAIL) throw malformed();
    if (name.toLowerCase() === SIGNATURE) {
      if (!isSame(client.trailer(this.#trailers), value.trim())) throw differentBody();
      this.#isTailSigned = true;
      this.#tail += `${name}:${gate.trailer(this.#trailers)}\r\n`;
    } else {
      this.#trailers += `${name.toLowerCase()}:${value.trim()}\n`;
      this.#tail += `${line}\r\n`;
    }
  }
}

function malformed(): Refusal {
  return invalid('The body is not aws-chunked as its head says', 'Send it as an AWS SDK does');
}
