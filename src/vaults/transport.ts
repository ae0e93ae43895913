import http from 'node:http';
import https from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import { VaultError } from '../types.ts';
import { asFault, ConnectFault, isPassing, MAX_BYTES, pauseBefore, TRIES } from './http.ts';
import { Trust } from './trust.ts';

const MAX_SOCKETS = 8;
/** Of one exchange: less than what one read gets, so that its own fault is told. */
const TIMEOUT_MS = 8_000;

export interface Exchange {
  readonly method: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
  /** Plain http may be used: metadata of a machine has nothing else. */
  readonly insecure?: boolean;
}

export interface Exchanged {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

/**
 * What a vendor's SDK sends and receives, instead of its own HTTP client: no proxy variable, no redirect, bounded in time
 * and size, with the trust of the vault. Throws VaultError that holds nothing of what was sent or received but the host.
 */
export class Transport {
  readonly trust: Trust;
  readonly #plain = new http.Agent({ maxSockets: MAX_SOCKETS });
  // A session that is resumed would not be judged by a CA file that changed meanwhile.
  readonly #tls = new https.Agent({ maxSockets: MAX_SOCKETS, maxCachedSessions: 0 });

  constructor(caFile: string | undefined) {
    this.trust = new Trust(caFile, true);
    silence();
  }

  /** Tries again what may pass, within the signal's time; the last answer, whatever its status. */
  async send(exchange: Exchange, until?: AbortSignal): Promise<Exchanged> {
    const limit = AbortSignal.timeout(TIMEOUT_MS);
    const signal = until ? AbortSignal.any([until, limit]) : limit;
    const { protocol, host } = exchange.url;
    for (let tried = 1; ; tried++) {
      const answer = await this.#once(exchange, signal).catch((error: unknown) => asFault(error, signal));
      const isFault = answer instanceof ConnectFault;
      const pause = isFault
        ? answer.passing && pauseBefore(tried)
        : isPassing(answer.status) && pauseBefore(tried, answer.headers['retry-after']);
      if (typeof pause !== 'number' || tried === TRIES) {
        if (!isFault) return answer;
        throw new VaultError(answer.error.kind, `${protocol}//${host}: ${answer.error.message}`);
      }
      await delay(pause, undefined, { signal }).catch(() => {
        throw new VaultError('unavailable', `${protocol}//${host}: there was no answer in time`);
      });
    }
  }

  async #once({ method, url, headers, body, insecure }: Exchange, signal: AbortSignal): Promise<Exchanged> {
    const isTls = url.protocol === 'https:';
    if (!isTls && !(insecure && url.protocol === 'http:'))
      throw new VaultError('unavailable', 'is not asked over plain http; write an https address');
    const secureContext = isTls ? await this.trust.context() : undefined;
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
      const outgoing = (isTls ? https : http).request(options, incoming => {
        collect(incoming).then(resolve, reject);
      });
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  }
}

async function collect(incoming: http.IncomingMessage): Promise<Exchanged> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BYTES) {
      incoming.destroy();
      throw new VaultError('unavailable', `the answer is larger than ${MAX_BYTES} bytes`);
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

/** What others may wait for too, or until the signal. */
export async function within<T>(signal: AbortSignal, shared: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const late = () =>
    reject(new VaultError('unavailable', 'there was no answer in time; check that the servers are up'));
  if (signal.aborted) late();
  signal.addEventListener('abort', late, { once: true });
  try {
    return await Promise.race([promise, shared]);
  } finally {
    signal.removeEventListener('abort', late);
  }
}

/** Variables by which vendors' SDKs write what they send and receive, secrets included, to the log. */
const REVEALING = /^(AZURE_LOG_LEVEL|GOOGLE_SDK_NODE_LOGGING|GRPC_(NODE_)?(TRACE|VERBOSITY)|DEBUG(_AUTH)?)$/;

/** Keeps SDKs that are loaded from now on from logging by themselves: each is loaded after its vault has a transport. */
function silence(): void {
  for (const name of Object.keys(process.env)) if (REVEALING.test(name)) delete process.env[name];
}
