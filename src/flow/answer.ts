import { Refusal } from '../errors.ts';
import {
  type Coding,
  codings,
  decodeBody,
  decodeWhole,
  type Patterns,
  type Scrubber,
} from '../scrub/index.ts';
import type { RawHeaders, ResponseHead, Sink } from '../types.ts';
import { endToEnd, get, without } from '../wire/headers.ts';
import type { Exchange } from '../wire/server.ts';
import type { Reply } from './ask.ts';
import type { Entry } from './entry.ts';

/** A body that came whole is decoded and scrubbed in one step up to this size, in bytes. */
const WHOLE_LIMIT = 256 * 1024;

/** Fields that describe the body's bytes as the upstream sent them; untrue once it is decoded (RFC 9110, section 7.7). */
const OF_CODED_BODY = new Set(['content-encoding', 'content-md5', 'digest', 'content-digest']);
/** Would lead the client around the gate, to another port or to QUIC (RFC 7838); what only the gate itself may say. */
const WITHHELD = new Set(['alt-svc', 'stubgate-reason']);

interface Head {
  readonly status: number;
  readonly reason: string;
  readonly headers: RawHeaders;
}

/**
 * Gives the upstream's reply to the sandbox, scrubbed, and writes the audit entry before or with the last byte.
 * Settles when the last byte was handed over; throws a Refusal as long as nothing has been sent.
 */
export function answer(x: Exchange, reply: Reply, entry: Entry): Promise<void> {
  const { head, patterns, scrubber } = reply;
  const bodyless = x.head.method === 'HEAD' || head.status === 204 || head.status === 304;
  const coded = patterns.empty || bodyless ? [] : codings(head.headers);
  if (!coded) throw new Refusal('undecodable_response');
  entry.firstByte();
  entry.event.status = head.status;
  const clean = cleanHead(head, coded, scrubber);
  return new Promise<void>((resolve, reject) => {
    const delivery = new Delivery(x, clean, entry, scrubber, resolve, reject);
    x.onAbort = cause => {
      reply.discard();
      delivery.abort(cause);
    };
    if (bodyless) delivery.bodyless(declaredLength(head, patterns));
    else if (patterns.empty) reply.body.pipe(delivery.open(head.length >= 0 ? head.length : undefined));
    else new Arrival(delivery, coded, scrubber).from(reply);
    x.flush();
  });
}

function cleanHead(head: ResponseHead, coded: readonly Coding[], scrubber: Scrubber): Head {
  const kept = without(endToEnd(head.headers), WITHHELD);
  const headers = coded.length > 0 ? without(kept, OF_CODED_BODY) : kept;
  return { status: head.status, reason: scrubber.text(head.reason), headers: scrubber.headers(headers) };
}

/** What `Content-Length` says of an answer to HEAD: untrue for a body that the gate would decode. */
function declaredLength(head: ResponseHead, patterns: Patterns): number | undefined {
  if (!patterns.empty && codings(head.headers)?.length !== 0) return undefined;
  const declared = get(head.headers, 'content-length');
  return declared === undefined || head.status === 204 ? undefined : Number(declared);
}

/** The first stage of a body to be scrubbed: one step for a body that is here whole, a stream for any other. */
class Arrival implements Sink {
  onDrain: (() => void) | null = null;
  readonly #delivery: Delivery;
  readonly #codings: readonly Coding[];
  readonly #scrubber: Scrubber;
  #here: Buffer[] = [];
  #ended: RawHeaders | null = null;
  #broken: Error | null = null;
  #stream: Sink | null = null;

  constructor(delivery: Delivery, coded: readonly Coding[], scrubber: Scrubber) {
    this.#delivery = delivery;
    this.#codings = coded;
    this.#scrubber = scrubber;
  }

  from(reply: Reply): void {
    reply.body.pipe(this);
    if (this.#ended && this.#whole(this.#ended)) return;
    this.#startStream();
  }

  /** False: not to be done in one step. */
  #whole(trailers: RawHeaders): boolean {
    const received = this.#here.length === 1 ? (this.#here[0] as Buffer) : Buffer.concat(this.#here);
    const body = this.#codings.length === 0 ? received : decodeWhole(this.#codings, received, WHOLE_LIMIT);
    if (!body) return false;
    this.#delivery.whole(this.#scrubber.whole(body), trailers);
    return true;
  }

  #startStream(): void {
    // A coded body is answered for once it proved readable, so that an unreadable one can still be refused.
    if (this.#codings.length === 0) this.#delivery.open(undefined);
    const scrubbed = this.#scrubber.body(this.#delivery);
    const stream = this.#codings.length === 0 ? scrubbed : decodeBody(this.#codings, scrubbed);
    stream.onDrain = () => this.onDrain?.();
    this.#stream = stream;
    for (const chunk of this.#here) stream.write(chunk);
    this.#here = [];
    if (this.#broken) stream.abort(this.#broken);
    else if (this.#ended) stream.end(this.#ended);
  }

  write(chunk: Buffer): boolean {
    if (this.#stream) return this.#stream.write(chunk);
    this.#here.push(chunk);
    return true;
  }

  end(trailers: RawHeaders): void {
    if (this.#stream) this.#stream.end(trailers);
    else this.#ended = trailers;
  }

  abort(cause: Error): void {
    if (this.#stream) this.#stream.abort(cause);
    else this.#broken = cause;
  }
}

/** The last stage: the answer on its way to the sandbox, with its audit entry. */
class Delivery implements Sink {
  onDrain: (() => void) | null = null;
  readonly #x: Exchange;
  readonly #head: Head;
  readonly #entry: Entry;
  readonly #scrubber: Scrubber;
  readonly #done: () => void;
  readonly #refused: (refusal: unknown) => void;
  #sink: Sink | null = null;

  constructor(
    x: Exchange,
    head: Head,
    entry: Entry,
    scrubber: Scrubber,
    done: () => void,
    refused: (refusal: unknown) => void,
  ) {
    this.#x = x;
    this.#head = head;
    this.#entry = entry;
    this.#scrubber = scrubber;
    this.#done = done;
    this.#refused = refused;
  }

  /** Starts the answer; `length` in bytes if it is known. */
  open(length: number | undefined): this {
    const sink = this.#x.respond({ ...this.#head, length });
    sink.onDrain = () => this.onDrain?.();
    this.#sink = sink;
    return this;
  }

  bodyless(length: number | undefined): void {
    this.open(length);
    this.end([]);
  }

  whole(body: Buffer, trailers: RawHeaders): void {
    // Trailers travel only with chunks (RFC 9112, section 7.1.2).
    this.open(trailers.length > 0 ? undefined : body.length);
    if (!this.#audited(body.length)) return;
    if (body.length > 0) this.#sink?.write(body);
    this.#sink?.end(this.#scrubber.headers(trailers));
    this.#done();
  }

  write(chunk: Buffer): boolean {
    if (!this.#sink) this.open(undefined);
    return this.#sink?.write(chunk) ?? true;
  }

  end(trailers: RawHeaders): void {
    if (!this.#sink) this.open(undefined);
    if (!this.#audited(0)) return;
    this.#sink?.end(this.#scrubber.headers(trailers));
    this.#done();
  }

  abort(cause: Error): void {
    if (!this.#sink && !this.#x.done) {
      this.#refused(cause instanceof Refusal ? cause : new Refusal('undecodable_response', { cause }));
    } else if (this.#audited(0)) {
      this.#sink?.abort(cause);
      this.#done();
    }
  }

  /** Writes the entry; an answer that cannot be audited is cut, so that it is seen to be incomplete. */
  #audited(pending: number): boolean {
    try {
      this.#entry.event.scrubbed = this.#scrubber.hits;
      this.#entry.write(this.#x.bytesIn, this.#x.bytesOut + pending);
      return true;
    } catch (thrown) {
      this.#sink?.abort(thrown as Error);
      this.#done();
      return false;
    }
  }
}
