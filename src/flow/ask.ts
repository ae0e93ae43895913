import { Refusal } from '../errors.ts';
import { has } from '../fields.ts';
import { STATUS_CODES } from '../http.ts';
import type { Outbound } from '../inject/outbound.ts';
import type { StubCounter } from '../inject/stub.ts';
import type { Meter } from '../limits/limiter.ts';
import { Metered } from '../limits/metered.ts';
import { detector, type Patterns, type Scrubber } from '../scrub/index.ts';
import type { BodyStage, RawHeaders, ResponseHead, Sink, Source, Target } from '../types.ts';
import type { UpstreamConnection } from '../upstream/connections.ts';
import type { Upstream } from '../upstream/pool.ts';
import { ClientConnection, type ClientHandlers, NONE } from '../wire/client.ts';
import { fault, TrailerFault } from '../wire/fault.ts';
import { endToEnd } from '../wire/headers.ts';
import type { Carrier } from '../wire/message.ts';
import type { Exchange } from '../wire/server.ts';

/** What the upstream answered; the body flows once it is piped. */
export interface Reply {
  readonly head: ResponseHead;
  readonly body: Source;
  readonly patterns: Patterns;
  readonly scrubber: Scrubber;
  /** The answer is 101, or a 2xx to an extended CONNECT: what follows is another protocol. */
  readonly switched?: Switch;
  /** Gives the answer up, and the connection with it. */
  readonly discard: () => void;
}

/** The upstream's end of a WebSocket. */
export interface Switch {
  readonly socket: Carrier;
  /** Received behind the head. */
  readonly early: Buffer;
  /** That the handshake was sent with; undefined: it was sent in HTTP/2. */
  readonly key: string | undefined;
}

export interface Question {
  readonly target: Target;
  readonly session: string;
  /** Request line and headers as they go on the wire: holds the credentials. */
  readonly head: string;
  /** The same, for an upstream that speaks HTTP/2. */
  readonly out: Outbound;
  /** The whole body, instead of what the client sends. */
  readonly body: Buffer | undefined;
  /** What the client's body goes through at last. */
  readonly stage: BodyStage | undefined;
  readonly patterns: Patterns;
  readonly scrubber: Scrubber;
  /** Of the stubs in the body, if there is one. */
  readonly counter: StubCounter | undefined;
  /** Of the client's body. */
  readonly meter: Meter | undefined;
  /** Of a WebSocket's handshake; undefined: the request is none. */
  readonly key: string | undefined;
  /** The answer may hand out what nobody can look for yet. */
  readonly isCaptured: boolean;
}

/** A request without content may be sent once more when a pooled connection turns out to be dead (RFC 9110, section 9.2.2). */
const REPEATABLE = new Set(['GET', 'HEAD', 'OPTIONS']);
const MAX_STALE = 3;
const NO_BODY: Source = { pipe: sink => sink.end([]), take: () => undefined };

/** Sends the request with its body and waits for the final response head. Rejects with the Refusal that the sandbox is told. */
export function ask(upstream: Upstream, x: Exchange, question: Question): Promise<Reply> {
  return new Promise((resolve, reject) => new Ask(upstream, x, question, resolve, reject).start());
}

/** Nobody is there any more to be answered. */
export class ClientLeft extends Error {
  constructor(cause?: unknown) {
    super('the client left', { cause });
    this.name = 'ClientLeft';
  }
}

/** A request on its way, on one connection after another until one is alive. */
class Ask implements ClientHandlers {
  readonly #upstream: Upstream;
  readonly #x: Exchange;
  readonly #question: Question;
  readonly #resolve: (reply: Reply) => void;
  readonly #reject: (cause: unknown) => void;
  #connection: UpstreamConnection | null = null;
  #sink: Sink | null = null;
  /** The connection has served before, and may have been closed since. */
  #isReused = false;
  #stale = 0;

  constructor(
    upstream: Upstream,
    x: Exchange,
    question: Question,
    resolve: (reply: Reply) => void,
    reject: (cause: unknown) => void,
  ) {
    this.#upstream = upstream;
    this.#x = x;
    this.#question = question;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  start(): void {
    try {
      const { target, session, key } = this.#question;
      const wanted = this.#x.isHttp2 ? 'http2' : 'http1';
      const lease =
        key === undefined
          ? this.#upstream.acquire(target, session, wanted)
          : this.#upstream.acquireWebSocket(target, session, wanted);
      if (lease instanceof Promise) lease.then(connection => this.#send(connection)).catch(this.#reject);
      else this.#send(lease);
    } catch (thrown) {
      this.#reject(thrown);
    }
  }

  #send(connection: UpstreamConnection): void {
    const { head } = this.#x;
    const { body, out } = this.#question;
    const isBodyless = head.length === 0 && !has(head.headers, 'content-length');
    const length = body ? body.length : isBodyless ? NONE : head.length;
    this.#connection = connection;
    this.#isReused = connection.requests > 0;
    const sink =
      connection instanceof ClientConnection
        ? connection.send(this.#question.head, head.method, length, this)
        : connection.send(out.fields(), length, this, this.maySwitch);
    this.#sink = sink;
    const abort = (cause: Error): void =>
      this.#giveUp(cause instanceof Refusal ? cause : new ClientLeft(cause));
    this.#x.onAbort = abort;
    if (this.#x.done) {
      this.#giveUp(new ClientLeft());
    } else if (body || head.length === 0) {
      if (body) sink.write(body);
      sink.end([]);
    } else {
      this.#x.body.pipe(upload(sink, head.headers, this.#question, cause => this.#giveUp(cause)));
      connection.flush();
    }
  }

  #giveUp(cause: Error): void {
    this.#reject(cause);
    this.discard();
  }

  discard(): void {
    if (this.#sink) this.#connection?.cancel(this.#sink);
  }

  /** A 1xx answer (RFC 9110, section 15.2) is scrubbed like any other. */
  informational({ status, reason, headers }: ResponseHead): void {
    const { scrubber, isCaptured } = this.#question;
    if (isCaptured) return this.#x.informational(status, STATUS_CODES[status] ?? '', []);
    this.#x.informational(status, scrubber.text(reason), scrubber.headers(endToEnd(headers)));
  }

  response(head: ResponseHead, body: Source): void {
    const { patterns, scrubber } = this.#question;
    // To an extended CONNECT any 2xx says that the WebSocket is open (RFC 8441, section 5).
    if (this.maySwitch && this.#x.isHttp2 && head.status < 300)
      return this.#giveUp(fault('upstream_malformed', 'The upstream did not switch to WebSocket'));
    this.#resolve({ head, body, patterns, scrubber, discard: () => this.discard() });
  }

  get maySwitch(): boolean {
    return this.#question.key !== undefined;
  }

  switched(head: ResponseHead, socket: Carrier, early: Buffer): void {
    const { patterns, scrubber } = this.#question;
    const key = this.#connection instanceof ClientConnection ? this.#question.key : undefined;
    const switched = { socket, early, key };
    this.#resolve({ head, body: NO_BODY, patterns, scrubber, switched, discard: () => socket.destroy() });
  }

  failed(refusal: Refusal, isRetryable: boolean): void {
    const { method, length } = this.#x.head;
    const isStale = isRetryable && this.#isReused && ++this.#stale <= MAX_STALE;
    if (isStale && length === 0 && REPEATABLE.has(method)) this.start();
    else this.#reject(refusal);
  }
}

/** The request's body on its way: stubs in it are counted; a real secret, or trailers, end the request. */
function upload(
  upstream: Sink,
  headers: RawHeaders,
  { patterns, counter, stage, meter }: Question,
  refuse: (refusal: Refusal) => void,
): Sink {
  const next = stage ? stage(upstream, refuse) : upstream;
  const searched = patterns.empty
    ? next
    : detector(patterns, next, () => refuse(new Refusal('secret_in_request')), headers);
  const counted = counter ? new Upload(counter, searched, refuse) : searched;
  return meter ? new Metered(meter, counted, refuse) : counted;
}

/** Their stubs and secrets are still looked for (flow.ts). */
export function noTrailers(trailers: RawHeaders): Refusal {
  return new TrailerFault('malformed_request', 'A request may not carry trailers', trailers);
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
    const drained = (): void => this.onDrain?.();
    next.onDrain = drained;
  }

  write(chunk: Buffer): boolean {
    this.#counter.feed(chunk);
    return this.#next.write(chunk);
  }

  // A header that comes after the body was never judged: no rule covers it.
  end(trailers: RawHeaders): void {
    if (trailers.length > 0) this.#refuse(noTrailers(trailers));
    else this.#next.end(trailers);
  }

  abort(cause: Error): void {
    this.#next.abort(cause);
  }
}
