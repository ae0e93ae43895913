import { VaultError } from '../types.ts';
import { type Exchanged, Exchanger, retried } from './exchange.ts';
import { Trust } from './trust.ts';

const REDIRECTS = new Set([301, 302, 307, 308]);

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

/** The JSON API of one server, for vaults. Throws VaultError that holds nothing of what was sent or received. */
export class JsonClient {
  readonly #origin: URL;
  readonly #exchanger: Exchanger;

  constructor(address: string, caFile: string | undefined) {
    this.#origin = new URL(address);
    this.#exchanger = new Exchanger(new Trust(caFile));
  }

  /** Tries again what may pass, within the signal's time; the last answer, whatever its status. */
  async send(request: JsonRequest, signal: AbortSignal): Promise<JsonAnswer> {
    const { status, text } = await retried(() => this.#follow(request, signal), signal);
    return { status, body: parse(status, text) };
  }

  /** One redirect, and only to the same origin: what we send must reach nobody else. */
  async #follow(request: JsonRequest, signal: AbortSignal): Promise<Exchanged> {
    const url = new URL(request.path, this.#origin);
    const answer = await this.#once(url, request, signal);
    if (!REDIRECTS.has(answer.status)) return answer;
    const { location } = answer.headers;
    const target = URL.parse(location ?? '', url);
    if (location !== undefined && target?.origin === this.#origin.origin) {
      const second = await this.#once(target, request, signal);
      if (!REDIRECTS.has(second.status)) return second;
    }
    throw new VaultError(
      'unavailable',
      `the server redirects (${answer.status}) elsewhere, which is not followed; write the address where it leads to`,
    );
  }

  #once(url: URL, { method, headers, body }: JsonRequest, signal: AbortSignal): Promise<Exchanged> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const ofBody = text !== undefined && {
      'content-type': 'application/json',
      'content-length': String(Buffer.byteLength(text)),
    };
    return this.#exchanger.once(
      { method, url, headers: { accept: 'application/json', ...ofBody, ...headers }, body: text },
      signal,
    );
  }
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
