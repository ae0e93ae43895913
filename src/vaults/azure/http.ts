import { AsyncLocalStorage } from 'node:async_hooks';
import type { TokenCredentialOptions } from '@azure/identity';
import { VaultError } from '../../types.ts';
import type { Transport } from '../transport.ts';

type Client = NonNullable<TokenCredentialOptions['httpClient']>;
type Request = Parameters<Client['sendRequest']>[0];
type Headers = Request['headers'];

/** What was answered last, or why nothing was. */
export interface Seen {
  answer?: { readonly status: number; readonly text: string };
  fault?: VaultError;
}

/**
 * Of what runs in it, the last exchange: the SDK's errors have many forms, and tell less. MSAL keeps the first client of a
 * managed identity for the whole process, so that no client can be told whom it works for.
 */
export const witness = new AsyncLocalStorage<Seen>();

/** Options that every client of Azure's SDK gets. */
export interface HttpClient {
  readonly httpClient: Client;
  readonly retryOptions: { readonly maxRetries: 0 };
  readonly redirectOptions: { readonly maxRetries: 0 };
}

/** The gate's own transport in place of the SDK's, which knows proxy variables, follows redirects and waits for minutes. */
export function clientOptions(transport: Transport): HttpClient {
  return {
    httpClient: {
      sendRequest: async request => {
        const seen = witness.getStore() ?? {};
        delete seen.fault;
        delete seen.answer;
        try {
          const { status, headers, text } = await exchange(transport, request);
          seen.answer = { status, text };
          return { request, status, headers: new Fields(headers), bodyAsText: text };
        } catch (error) {
          const isTold = error instanceof VaultError;
          seen.fault = isTold ? error : new VaultError('unavailable', 'there was no answer');
          throw seen.fault;
        }
      },
    },
    retryOptions: { maxRetries: 0 },
    redirectOptions: { maxRetries: 0 },
  };
}

function exchange(transport: Transport, request: Request) {
  const { 'accept-encoding': _, ...headers } = request.headers.toJSON();
  const { body } = request;
  if (body !== undefined && body !== null && typeof body !== 'string')
    throw new VaultError('unavailable', 'the SDK sends what is no text');
  const length = body ? { 'content-length': String(Buffer.byteLength(body)) } : {};
  return transport.send(
    {
      method: request.method,
      url: new URL(request.url),
      headers: { ...headers, ...length },
      body: body ?? undefined,
      insecure: request.allowInsecureConnection === true,
    },
    signalOf(request.abortSignal),
  );
}

function signalOf(like: Request['abortSignal']): AbortSignal | undefined {
  if (like === undefined || like instanceof AbortSignal) return like;
  const controller = new AbortController();
  if (like.aborted) controller.abort();
  like.addEventListener('abort', () => controller.abort());
  return controller.signal;
}

/** Header fields as the SDK reads them; names in any case. */
class Fields implements Headers {
  readonly #fields: Map<string, string>;

  constructor(fields: Readonly<Record<string, string>>) {
    this.#fields = new Map(Object.entries(fields));
  }

  get(name: string): string | undefined {
    return this.#fields.get(name.toLowerCase());
  }

  has(name: string): boolean {
    return this.#fields.has(name.toLowerCase());
  }

  set(name: string, value: string | number | boolean): void {
    this.#fields.set(name.toLowerCase(), String(value));
  }

  delete(name: string): void {
    this.#fields.delete(name.toLowerCase());
  }

  toJSON(): Record<string, string> {
    return Object.fromEntries(this.#fields);
  }

  [Symbol.iterator](): Iterator<[string, string]> {
    return this.#fields.entries();
  }
}
