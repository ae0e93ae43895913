import { Buffer } from 'node:buffer';
import { createHmac, createSecretKey, type KeyObject, randomUUID } from 'node:crypto';
import { type Dial, sender } from '../mint/http.ts';
import { VaultError } from '../types.ts';
import { readSource } from '../vaults/source.ts';
import type { WebhookOptions } from './options.ts';

/** What is asked for once more: of the network, and of a receiver that is not well (RFC 9110, section 15.6). */
const PASSING: ReadonlySet<number> = new Set([408, 425, 429]);
const KEY_BYTES = 16;

/** `done`, or why not; `again`: it may be tried once more. Nothing secret stands in `why`. */
export type Sent =
  | { readonly done: true }
  | { readonly done: false; readonly again: boolean; readonly why: string };

/** The receiver of alarms. Redirects are not followed, and nothing of its answer is kept. */
export class Webhook {
  readonly #options: WebhookOptions;
  readonly #dial: Dial;

  constructor(options: WebhookOptions, dial: Dial) {
    this.#options = options;
    this.#dial = dial;
  }

  /** Throws an Error that tells the operator what is wrong with the files and variables of the configuration. */
  async check(): Promise<void> {
    await this.#key();
    await this.#url();
  }

  /** One attempt. `id`: of the delivery, the same at each attempt. Never rejects. */
  async send(id: string, body: string): Promise<Sent> {
    let url: URL | undefined;
    try {
      const key = await this.#key();
      url = await this.#url();
      const headers = {
        'content-type': 'application/json',
        'stubgate-delivery': id,
        ...(key && { 'stubgate-signature': signature(key, body) }),
      };
      const signal = AbortSignal.timeout(this.#options.timeoutMs);
      const { status } = await sender(this.#dial, signal)(url, headers, body);
      if (status < 300) return { done: true };
      return { done: false, again: status >= 500 || PASSING.has(status), why: `it answered ${status}` };
    } catch (thrown) {
      return { done: false, again: true, why: reason(thrown, url) };
    }
  }

  async #key(): Promise<KeyObject | undefined> {
    const { secret } = this.#options;
    if (!secret) return undefined;
    const text = await readSource({ name: 'secret', ...secret });
    if (text.length < KEY_BYTES)
      throw new VaultError(
        'unavailable',
        `what alarms.secret_file or secret_env names is shorter than ${KEY_BYTES} characters: openssl rand -base64 32`,
      );
    return createSecretKey(text, 'utf8');
  }

  async #url(): Promise<URL> {
    const { url } = this.#options;
    const text = typeof url === 'string' ? url : await readSource({ name: 'webhook', ...url });
    const parsed = URL.parse(text);
    const isHttps =
      parsed?.protocol === 'https:' || (parsed?.protocol === 'http:' && typeof url === 'string');
    if (parsed && isHttps && parsed.username === '' && parsed.password === '') return parsed;
    throw new VaultError('unavailable', 'what alarms.webhook_file or webhook_env names is not an https URL');
  }
}

export const newDelivery = (): string => randomUUID();

/** Over the bytes of the body. */
function signature(key: KeyObject, body: string): string {
  return `sha256=${createHmac('sha256', key).update(Buffer.from(body)).digest('hex')}`;
}

/** The URL may be a secret: only its origin is told. */
function reason(thrown: unknown, url: URL | undefined): string {
  if (!(thrown instanceof VaultError)) return 'it failed';
  return url ? thrown.message.replaceAll(url.href, url.origin) : thrown.message;
}
