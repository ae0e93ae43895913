import { performance } from 'node:perf_hooks';
import { Refusal } from '../../errors.ts';
import { COMMAND_MS, type Client } from './connect.ts';
import type { Script } from './scripts.ts';

/** Questions under way at a time; further ones are refused at once. */
const MAX_PENDING = 4096;

/** The way to Redis: every question has a time limit, none waits for a connection, and no error tells a value. */
export class Link {
  /** What the names of keys and channels begin with. */
  readonly prefix: string;
  readonly #client: Client;
  #pending = 0;
  /** Why there is no connection. */
  #fault: string | undefined;
  /** Whether the last beat came back. */
  up = false;

  constructor(client: Client, prefix: string) {
    this.#client = client;
    // One hash tag, so that one script may touch several keys.
    this.prefix = `{${prefix}}:`;
    client.on('error', (error: unknown) => {
      this.#fault = faultOf(error);
    });
    client.on('ready', () => {
      this.#fault = undefined;
    });
  }

  /** The name of a key. */
  key(...parts: readonly string[]): string {
    return this.prefix + parts.join(':');
  }

  /** Throws Refusal `state_unavailable`. `probing`: also while Redis is known to be down. */
  async ask<T>(question: (client: Client) => Promise<T>, probing = false): Promise<T> {
    if (!this.up && !probing) throw unavailable('Redis does not answer');
    if (this.#pending >= MAX_PENDING) throw unavailable(`${MAX_PENDING} questions to Redis are under way`);
    this.#pending++;
    try {
      return await within(COMMAND_MS, question(this.#client));
    } catch (error) {
      const known = this.#fault === undefined ? '' : `, ${this.#fault}`;
      throw unavailable(`Redis: ${faultOf(error)}${known}`);
    } finally {
      this.#pending--;
    }
  }

  /** Throws as `ask` does. */
  run(
    { sha, lua }: Script,
    keys: readonly string[],
    args: readonly (string | number)[],
    probing = false,
  ): Promise<unknown> {
    return this.ask(async client => {
      try {
        return await client.evalsha(sha, keys.length, ...keys, ...args);
      } catch (error) {
        if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error;
        return await client.eval(lua, keys.length, ...keys, ...args);
      }
    }, probing);
  }

  close(): void {
    this.up = false;
    this.#client.disconnect();
  }
}

export function unavailable(cause: string): Refusal {
  return new Refusal('state_unavailable', { cause: new Error(cause) });
}

/** The promise's value, unless it takes longer. */
async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  const startedAt = performance.now();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`no answer in ${Math.round(performance.now() - startedAt)} ms`)),
      ms,
    );
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

const TELLING =
  /^(Command timed out|Connection is closed|no answer in \d+ ms|answers are missing|All sentinels are unreachable)/;

/** What failed, without the command and its values, which errors of Redis may quote. */
function faultOf(thrown: unknown): string {
  const { lastNodeError } = (thrown ?? {}) as { lastNodeError?: unknown };
  const {
    name = 'Error',
    message = '',
    code,
  } = (lastNodeError ?? thrown ?? {}) as Partial<NodeJS.ErrnoException>;
  if (name === 'ReplyError') return /^[A-Z]{2,20}(?= )/.exec(message)?.[0] ?? 'an error';
  if (code !== undefined) return code;
  if (message.startsWith("Stream isn't writeable")) return 'not connected';
  return TELLING.exec(message)?.[0] ?? name;
}
