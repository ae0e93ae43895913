import type { StubCounter } from '../inject/stub.ts';
import { Refusal } from '../errors.ts';
import { detector, type Patterns, type Scrubber } from '../scrub/index.ts';
import type { RawHeaders, ResponseHead, Sink, Source, Target } from '../types.ts';
import type { Upstream } from '../upstream/pool.ts';
import { type ClientConnection, NONE } from '../wire/client.ts';
import { endToEnd, has } from '../wire/headers.ts';
import type { Exchange } from '../wire/server.ts';

/** What the upstream answered; the body flows once it is piped. */
export interface Reply {
  readonly head: ResponseHead;
  readonly body: Source;
  readonly patterns: Patterns;
  readonly scrubber: Scrubber;
  /** Gives the answer up, and the connection with it. */
  readonly discard: () => void;
}

export interface Question {
  readonly target: Target;
  readonly session: string;
  /** Request line and headers as they go on the wire: holds the credentials. */
  readonly head: string;
  /** The whole body, instead of what the client sends. */
  readonly body: Buffer | undefined;
  readonly patterns: Patterns;
  readonly scrubber: Scrubber;
  readonly counter: StubCounter;
}

/** A request without content may be sent once more when a pooled connection turns out to be dead (RFC 9110, section 9.2.2). */
const REPEATABLE = new Set(['GET', 'HEAD', 'OPTIONS']);
const MAX_STALE = 3;

/** Sends the request with its body and waits for the final response head. Throws the Refusal that the sandbox is told. */
export async function ask(upstream: Upstream, x: Exchange, question: Question): Promise<Reply> {
  for (let stale = 0; ; stale++) {
    const lease = upstream.acquire(question.target, question.session);
    const connection = lease instanceof Promise ? await lease : lease;
    try {
      return await send(connection, x, question);
    } catch (thrown) {
      const repeatable = REPEATABLE.has(x.head.method) && x.head.length === 0;
      if (!repeatable || stale >= MAX_STALE || !(thrown instanceof StaleConnection)) throw reasonOf(thrown);
    }
  }
}

/** Nobody is there any more to be answered. */
export class ClientLeft extends Error {
  constructor(cause?: unknown) {
    super('the client left', { cause });
    this.name = 'ClientLeft';
  }
}

/** A reused connection that closed before a byte of its answer. */
class StaleConnection extends Error {
  readonly refusal: Refusal;
  constructor(refusal: Refusal) {
    super('stale connection', { cause: refusal });
    this.refusal = refusal;
  }
}

function reasonOf(thrown: unknown): unknown {
  return thrown instanceof StaleConnection ? thrown.refusal : thrown;
}

function send(connection: ClientConnection, x: Exchange, question: Question): Promise<Reply> {
  const { patterns, scrubber, body: whole } = question;
  return new Promise<Reply>((resolve, reject) => {
    const bodyless = x.head.length === 0 && !has(x.head.headers, 'content-length');
    const reused = connection.requests > 0;
    const length = whole ? whole.length : bodyless ? NONE : x.head.length;
    const sink = connection.send(question.head, x.head.method, length, {
      informational: head => interim(x, head, scrubber),
      response: (head, body) => resolve({ head, body, patterns, scrubber, discard }),
      failed: (refusal, retryable) => reject(retryable && reused ? new StaleConnection(refusal) : refusal),
    });
    const discard = (): void => connection.cancel(sink);
    const giveUp = (cause: Error): void => {
      reject(cause);
      discard();
    };
    x.onAbort = cause => giveUp(cause instanceof Refusal ? cause : new ClientLeft(cause));
    if (x.done) giveUp(new ClientLeft());
    else if (whole) {
      sink.write(whole);
      sink.end([]);
    } else if (x.head.length === 0) sink.end([]);
    else x.body.pipe(upload(sink, question, giveUp));
    connection.flush();
  });
}

/** A 1xx answer (RFC 9110, section 15.2) is scrubbed like any other. */
function interim(x: Exchange, { status, reason, headers }: ResponseHead, scrubber: Scrubber): void {
  x.informational(status, scrubber.text(reason), scrubber.headers(endToEnd(headers)));
}

/** The request's body on its way: stubs in it are counted; a real secret, or trailers, end the request. */
function upload(next: Sink, { patterns, counter }: Question, refuse: (refusal: Refusal) => void): Sink {
  const searched = patterns.empty
    ? next
    : detector(patterns, next, () => refuse(new Refusal('secret_in_request')));
  return new Upload(counter, searched, refuse);
}

class Upload implements Sink {
  onDrain: (() => void) | null = null;
  readonly #counter: StubCounter;
  readonly #next: Sink;
  readonly #refuse: (refusal: Refusal) => void;

  constructor(counter: StubCounter, next: Sink, refuse: (refusal: Refusal) => void) {
    this.#counter = counter;
    this.#next = next;
    this.#refuse = refuse;
    next.onDrain = () => this.onDrain?.();
  }

  write(chunk: Buffer): boolean {
    this.#counter.feed(chunk);
    return this.#next.write(chunk);
  }

  // A header that comes after the body was never judged: no rule covers it.
  end(trailers: RawHeaders): void {
    if (trailers.length > 0)
      this.#refuse(new Refusal('malformed_request', { message: 'A request may not carry trailers' }));
    else this.#next.end(trailers);
  }

  abort(cause: Error): void {
    this.#next.abort(cause);
  }
}
