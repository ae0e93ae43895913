import { Refusal } from '../errors.ts';
import { get, Names } from '../fields.ts';
import {
  type Coding,
  codings,
  decodeBody,
  decodeWhole,
  type Patterns,
  type Scrubber,
} from '../scrub/index.ts';
import type { RawHeaders, ResponseHead, Sink, Source } from '../types.ts';
import { endToEnd } from '../wire/headers.ts';
import type { Exchange } from '../wire/server.ts';
import type { Reply } from './ask.ts';
import type { Entry } from './entry.ts';

/** A coded body that came whole is decoded in one step up to this size, in bytes. */
const WHOLE_LIMIT = 256 * 1024;
const UNCODED: readonly Coding[] = [];

/** Would lead the client around the gate, to another port or to QUIC (RFC 7838); what only the gate itself may say. */
const WITHHELD_NAMES = ['alt-svc', 'stubgate-reason'];
export const WITHHELD = new Names(...WITHHELD_NAMES);
/** And what describes the body's bytes as the upstream sent them; untrue once it is decoded (RFC 9110, section 7.7). */
const OF_CODED_BODY = new Names(
  ...WITHHELD_NAMES,
  'content-encoding',
  'content-md5',
  'digest',
  'content-digest',
);

interface Head {
  readonly status: number;
  readonly reason: string;
  readonly headers: RawHeaders;
  readonly source: ResponseHead | undefined;
}

/**
 * Gives the upstream's reply to the sandbox, scrubbed, and writes the audit entry before or with the last byte.
 * Undefined if that is done, otherwise settles when the last byte was handed over. Throws, or rejects with, a Refusal
 * as long as nothing has been sent.
 */
export function answer(x: Exchange, reply: Reply, entry: Entry): Promise<void> | undefined {
  const { head, patterns, scrubber } = reply;
  const isBodyless = x.head.method === 'HEAD' || head.status === 204 || head.status === 304;
  const coded = patterns.empty || isBodyless ? UNCODED : codings(head.headers);
  if (!coded) throw new Refusal('undecodable_response');
  entry.firstByte();
  entry.event.status = head.status;
  const delivery = new Delivery(x, cleanHead(head, coded, scrubber), entry, scrubber);
  if (isBodyless) {
    delivery.bodyless(declaredLength(head, patterns));
    return undefined;
  }
  const whole = reply.body.take();
  const body = whole && coded.length > 0 ? decodeWhole(coded, whole, WHOLE_LIMIT) : whole;
  if (body) {
    delivery.whole(scrubber.whole(body, head.headers));
    return undefined;
  }
  return stream(whole ? sourceOf(whole) : reply.body, reply, coded, delivery);
}

function stream(
  body: Source,
  { head, patterns, scrubber, discard }: Reply,
  coded: readonly Coding[],
  delivery: Delivery,
): Promise<void> {
  const { x } = delivery;
  return new Promise<void>((resolve, reject) => {
    delivery.settle(resolve, reject);
    const abort = (cause: Error): void => {
      discard();
      delivery.abort(cause);
    };
    x.onAbort = abort;
    // A coded body is answered for once it proved readable, so that an unreadable one can still be refused.
    if (coded.length === 0) delivery.open(patterns.empty && head.length >= 0 ? head.length : undefined);
    const scrubbed = scrubber.body(delivery, head.headers);
    body.pipe(coded.length === 0 ? scrubbed : decodeBody(coded, scrubbed));
    x.flush();
  });
}

const sourceOf = (bytes: Buffer): Source => ({
  take: () => undefined,
  pipe: sink => {
    sink.write(bytes);
    sink.end([]);
  },
});

function cleanHead(head: ResponseHead, coded: readonly Coding[], scrubber: Scrubber): Head {
  const { status, reason } = head;
  const headers = endToEnd(head.headers, coded.length > 0 ? OF_CODED_BODY : WITHHELD);
  // One search instead of one per field; a secret in a field is one in the head.
  if (!scrubber.patterns.find(head.bytes)) return { status, reason, headers, source: head };
  return { status, reason: scrubber.text(reason), headers: scrubber.headers(headers), source: undefined };
}

/** What `Content-Length` says of an answer to HEAD: untrue for a body that the gate would decode. */
function declaredLength(head: ResponseHead, patterns: Patterns): number | undefined {
  if (!patterns.empty && codings(head.headers)?.length !== 0) return undefined;
  const declared = get(head.headers, 'content-length');
  return declared === undefined || head.status === 204 ? undefined : Number(declared);
}

/** The last stage: the answer on its way to the sandbox, with its audit entry. */
class Delivery implements Sink {
  onDrain: (() => void) | null = null;
  readonly x: Exchange;
  readonly #head: Head;
  readonly #entry: Entry;
  readonly #scrubber: Scrubber;
  #done: (() => void) | null = null;
  #refused: ((refusal: Refusal) => void) | null = null;
  #sink: Sink | null = null;

  constructor(x: Exchange, head: Head, entry: Entry, scrubber: Scrubber) {
    this.x = x;
    this.#head = head;
    this.#entry = entry;
    this.#scrubber = scrubber;
  }

  /** Whom to tell of the end of a stream: all was handed over, or a refusal is still to be sent. */
  settle(done: () => void, refused: (refusal: Refusal) => void): void {
    this.#done = done;
    this.#refused = refused;
  }

  /** Starts the answer; `length` in bytes if it is known. */
  open(length: number | undefined): Sink {
    const { status, reason, headers, source } = this.#head;
    const sink = this.x.respond({ status, reason, headers, source, length });
    const drained = (): void => this.onDrain?.();
    sink.onDrain = drained;
    this.#sink = sink;
    return sink;
  }

  bodyless(length: number | undefined): void {
    this.open(length);
    this.end([]);
  }

  whole(body: Buffer): void {
    const sink = this.open(body.length);
    if (!this.#audited(body.length)) return;
    sink.write(body);
    sink.end([]);
  }

  write(chunk: Buffer): boolean {
    return (this.#sink ?? this.open(undefined)).write(chunk);
  }

  end(trailers: RawHeaders): void {
    const sink = this.#sink ?? this.open(undefined);
    // First, so that what is found in them is counted.
    const scrubbed = this.#scrubber.headers(trailers);
    if (this.#audited(0)) sink.end(scrubbed);
    this.#done?.();
  }

  abort(cause: Error): void {
    if (!this.#sink && !this.x.done) {
      this.#refused?.(cause instanceof Refusal ? cause : new Refusal('undecodable_response', { cause }));
      return;
    }
    if (this.#audited(0)) this.#sink?.abort(cause);
    this.#done?.();
  }

  /** Writes the entry; an answer that cannot be audited is cut, so that it is seen to be incomplete. */
  #audited(pending: number): boolean {
    try {
      this.#entry.event.scrubbed = this.#scrubber.hits;
      this.#entry.write(this.x.bytesIn, this.x.bytesOut + pending);
      return true;
    } catch (thrown) {
      this.#sink?.abort(thrown as Error);
      return false;
    }
  }
}
