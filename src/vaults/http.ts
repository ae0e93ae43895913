import http from 'node:http';
import https from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import { VaultError } from '../types.ts';
import { Trust } from './trust.ts';

export const MAX_BYTES = 1_048_576;
const MAX_SOCKETS = 8;
export const TRIES = 4;
/** Before the second try, doubled for each further one; half of it is random. */
const PAUSE_MS = 100;
/** A server that asks for a longer pause is not asked again. */
const MAX_PAUSE_MS = 5_000;
const REDIRECTS = new Set([301, 302, 307, 308]);
/** What a later try may change: eventual consistency, quotas, standby, sealed or starting servers. */
export const isPassing = (status: number) =>
  status === 412 || status === 429 || status === 472 || status === 473 || status >= 500;
/** Connections that fail for now; a certificate that is not trusted does so for good. */
const PASSING = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EAI_AGAIN', 'EHOSTUNREACH']);

export interface JsonRequest {
  readonly method: 'GET' | 'POST';
  /** Origin-form, with its query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
}

export interface JsonAnswer {
  readonly status: number;
  /** Undefined if there is none, or none that is JSON. */
  readonly body: unknown;
}

interface RawAnswer extends JsonAnswer {
  readonly retryAfter: string | undefined;
  readonly location: string | undefined;
}

/**
 * The JSON API of one server, for vaults. Node's own client, because `fetch` takes no CA: it obeys no proxy variable and
 * follows nothing by itself. Throws VaultError that holds nothing of what was sent or received.
 */
export class JsonClient {
  readonly #origin: URL;
  readonly #trust: Trust;
  readonly #agent: http.Agent;

  constructor(address: string, caFile: string | undefined) {
    this.#origin = new URL(address);
    this.#trust = new Trust(caFile);
    // A session that is resumed would not be judged by a CA file that changed meanwhile.
    this.#agent = this.#isTls
      ? new https.Agent({ maxSockets: MAX_SOCKETS, maxCachedSessions: 0 })
      : new http.Agent({ maxSockets: MAX_SOCKETS });
  }

  get #isTls(): boolean {
    return this.#origin.protocol === 'https:';
  }

  /** Tries again what may pass, within the signal's time; the last answer, whatever its status. */
  async send(request: JsonRequest, signal: AbortSignal): Promise<JsonAnswer> {
    for (let tried = 1; ; tried++) {
      const answer = await this.#follow(request, signal).catch((error: unknown) => asFault(error, signal));
      const isFault = answer instanceof ConnectFault;
      const pause = isFault
        ? answer.passing && pauseBefore(tried)
        : isPassing(answer.status) && pauseBefore(tried, answer.retryAfter);
      if (typeof pause !== 'number' || tried === TRIES) {
        if (isFault) throw answer.error;
        return answer;
      }
      await delay(pause, undefined, { signal }).catch(() => {
        throw new VaultError('unavailable', 'there was no answer in time; check that the server is up');
      });
    }
  }

  /** One redirect, and only to the same origin: what we send must reach nobody else. */
  async #follow(request: JsonRequest, signal: AbortSignal): Promise<RawAnswer> {
    const answer = await this.#once(request, signal);
    if (!REDIRECTS.has(answer.status)) return answer;
    const target = URL.parse(answer.location ?? '', new URL(request.path, this.#origin));
    if (answer.location !== undefined && target?.origin === this.#origin.origin) {
      const second = await this.#once({ ...request, path: target.pathname + target.search }, signal);
      if (!REDIRECTS.has(second.status)) return second;
    }
    throw new VaultError(
      'unavailable',
      `the server redirects (${answer.status}) elsewhere, which is not followed; write the address where it leads to`,
    );
  }

  async #once({ method, path, headers, body }: JsonRequest, signal: AbortSignal): Promise<RawAnswer> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const secureContext = this.#isTls ? await this.#trust.context() : undefined;
    const { hostname, port, host } = this.#origin;
    const options: https.RequestOptions = {
      host: hostname.replace(/^\[|\]$/g, ''),
      port: port === '' ? undefined : Number(port),
      method,
      path,
      headers: {
        host,
        accept: 'application/json',
        ...(text !== undefined && {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(text),
        }),
        ...headers,
      },
      agent: this.#agent,
      signal,
      ...(secureContext && { secureContext, rejectUnauthorized: true }),
    };
    return new Promise((resolve, reject) => {
      const outgoing = (this.#isTls ? https : http).request(options, incoming => {
        collect(incoming).then(resolve, reject);
      });
      outgoing.on('error', reject);
      outgoing.end(text);
    });
  }
}

async function collect(incoming: http.IncomingMessage): Promise<RawAnswer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BYTES) {
      incoming.destroy();
      throw new VaultError(
        'unavailable',
        `the answer is larger than ${MAX_BYTES} bytes; check the address and the path`,
      );
    }
    chunks.push(chunk);
  }
  const status = incoming.statusCode ?? 0;
  const { 'retry-after': retryAfter, location } = incoming.headers;
  return { status, retryAfter, location, body: parse(status, Buffer.concat(chunks).toString('utf8')) };
}

function parse(status: number, text: string): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    // Its error quotes the text. A proxy on the way may refuse in HTML.
    if (status >= 300) return undefined;
    throw new VaultError(
      'unavailable',
      'the answer is not JSON; check that the address is that of the server, not of a page before it',
    );
  }
}

/** A connection that failed, in words that hold neither path nor header. */
export class ConnectFault {
  readonly error: VaultError;
  readonly passing: boolean;

  constructor(error: VaultError, passing: boolean) {
    this.error = error;
    this.passing = passing;
  }
}

export function asFault(thrown: unknown, signal: AbortSignal): ConnectFault {
  if (thrown instanceof VaultError) return new ConnectFault(thrown, false);
  if (signal.aborted) {
    return new ConnectFault(
      new VaultError('unavailable', 'there was no answer in time; check that the server is up'),
      false,
    );
  }
  const code = (thrown as NodeJS.ErrnoException).code ?? 'no code';
  const isTrust = /CERT|SELF_SIGNED|ISSUER|SIGNATURE|ALTNAME/.test(code);
  const advice = isTrust
    ? 'its certificate is not trusted: check the address, or name its CA in "ca_file"'
    : 'check the address, and that the server is up';
  return new ConnectFault(
    new VaultError('unavailable', `the server cannot be reached (${code}); ${advice}`),
    PASSING.has(code),
  );
}

/** ms; undefined if the server asks for more (its Retry-After) than a request can wait. */
export function pauseBefore(tried: number, retryAfter?: string): number | undefined {
  const step = PAUSE_MS * 2 ** (tried - 1);
  const own = step / 2 + (Math.random() * step) / 2;
  if (retryAfter === undefined) return own;
  const asked = retryAfterMs(retryAfter);
  return asked > MAX_PAUSE_MS ? undefined : Math.max(own, asked);
}

/** Seconds or a date (RFC 9110, section 10.2.3). */
function retryAfterMs(text: string): number {
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) ? 0 : date - Date.now();
}
