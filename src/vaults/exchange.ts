import type { IncomingMessage } from 'node:http';
import https from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import { Agent, request } from '../http.ts';
import { VaultError } from '../types.ts';
import type { Trust } from './trust.ts';

const MAX_BYTES = 1_048_576;
const MAX_SOCKETS = 8;
export const TRIES = 4;
/** Before the second try, doubled for each further one; half of it is random. */
const PAUSE_MS = 100;
/** A server that asks for a longer pause is not asked again. */
const MAX_PAUSE_MS = 5_000;
/** Connections that fail for now; a certificate that is not trusted does so for good. */
const PASSING = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EAI_AGAIN', 'EHOSTUNREACH']);

export interface Exchange {
  readonly method: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
}

export interface Exchanged {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

/**
 * Connections to the servers of one vault. Node's own client, because `fetch` takes no CA: it obeys no proxy variable and
 * follows nothing by itself.
 */
export class Exchanger {
  readonly #trust: Trust;
  readonly #plain = new Agent({ maxSockets: MAX_SOCKETS });
  // A session that is resumed would not be judged by a CA file that changed meanwhile.
  readonly #tls = new https.Agent({ maxSockets: MAX_SOCKETS, maxCachedSessions: 0 });

  constructor(trust: Trust) {
    this.#trust = trust;
  }

  /** One request and its answer, bounded in size. */
  async once({ method, url, headers, body }: Exchange, signal: AbortSignal): Promise<Exchanged> {
    const isTls = url.protocol === 'https:';
    const secureContext = isTls ? await this.#trust.context() : undefined;
    const options: https.RequestOptions = {
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: url.port === '' ? undefined : Number(url.port),
      method,
      path: url.pathname + url.search,
      headers: { ...headers, host: url.host },
      agent: isTls ? this.#tls : this.#plain,
      signal,
      ...(secureContext && { secureContext, rejectUnauthorized: true }),
    };
    return new Promise((resolve, reject) => {
      const outgoing = (isTls ? https.request : request)(options, incoming => {
        collect(incoming).then(resolve, reject);
      });
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  }
}

/** Tries again what may pass, within the signal's time; the last answer, whatever its status. Throws VaultError. */
export async function retried(once: () => Promise<Exchanged>, signal: AbortSignal): Promise<Exchanged> {
  for (let tried = 1; ; tried++) {
    const answer = await once().catch((error: unknown) => asFault(error, signal));
    const isFault = answer instanceof ConnectFault;
    const pause = isFault
      ? answer.passing && pauseBefore(tried)
      : isPassing(answer.status) && pauseBefore(tried, answer.headers['retry-after']);
    if (typeof pause !== 'number' || tried === TRIES) {
      if (isFault) throw answer.error;
      return answer;
    }
    await delay(pause, undefined, { signal }).catch(() => {
      throw late();
    });
  }
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

/** What a later try may change: eventual consistency, quotas, standby, sealed or starting servers. */
function isPassing(status: number): boolean {
  return status === 412 || status === 429 || status === 472 || status === 473 || status >= 500;
}

async function collect(incoming: IncomingMessage): Promise<Exchanged> {
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
  const headers = Object.entries(incoming.headers).map(([name, value]) => [name, String(value)]);
  return {
    status: incoming.statusCode ?? 0,
    headers: Object.fromEntries(headers) as Record<string, string>,
    text: Buffer.concat(chunks).toString('utf8'),
  };
}

/** A connection that failed, in words that hold neither path nor header. */
class ConnectFault {
  readonly error: VaultError;
  readonly passing: boolean;

  constructor(error: VaultError, passing: boolean) {
    this.error = error;
    this.passing = passing;
  }
}

function asFault(thrown: unknown, signal: AbortSignal): ConnectFault {
  if (thrown instanceof VaultError) return new ConnectFault(thrown, false);
  if (signal.aborted) return new ConnectFault(late(), false);
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

function late(): VaultError {
  return new VaultError('unavailable', 'there was no answer in time; check that the server is up');
}
