import { Buffer } from 'node:buffer';
import type { Log } from '../../types.ts';
import { Seal } from '../seal.ts';
import type { State } from '../state.ts';
import { type Client, connect, secretAt } from './connect.ts';
import { Link } from './link.ts';
import { RedisPermits } from './permits.ts';
import type { RedisOptions } from './options.ts';
import { RedisSessions } from './sessions.ts';
import { RedisAlarms, RedisStore } from './shared.ts';

const BEAT_MS = 500;
/** After one that failed. */
const RETRY_MS = 100;
/** What a key must have at least, bytes of text. */
const KEY_BYTES = 32;

/**
 * The state in a Redis, which need not be up: until it is nothing is admitted. `caKey`: where there is no other key.
 * Settles once Redis was asked the first time. Throws an Error that tells the operator what is wrong with a file.
 */
export async function openRedis(options: RedisOptions, caKey: Buffer, log: Log): Promise<State> {
  const key = await keyOf(options, caKey);
  const seal = new Seal(key);
  const { commands, subscriber } = await connect(options);
  const link = new Link(commands, options.prefix);
  const store = new RedisStore(link, seal);
  const sessions = new RedisSessions({
    link,
    seal,
    log,
    graceMs: options.graceMs,
  });
  const alarms = new RedisAlarms(link, seal, log);
  listen(subscriber, sessions.channel, id => sessions.heard(id));
  listen(subscriber, alarms.channel, message => {
    const alarm = alarms.open(message);
    if (alarm) log.warn('alarm at another gate', { ...alarm });
  });
  const permits = new RedisPermits(link, seal);
  const heart = new Heart(link, sessions, log, () => store.anew());
  commands.on('ready', () => {
    sessions.reconnected();
    heart.beatNow();
    void warnOfEviction(commands, log);
  });
  // A node of a cluster that took over, or came back.
  commands.on('+node', () => sessions.reconnected());
  await heart.start(commands);
  return {
    sessions,
    permits,
    store,
    key,
    publish: alarm => alarms.publish(alarm),
    close: () => {
      heart.stop();
      permits.close();
      link.close();
      subscriber.disconnect();
    },
  };
}

async function keyOf({ key }: RedisOptions, caKey: Buffer): Promise<Buffer> {
  const text = await secretAt('key', key);
  if (text === undefined) return caKey;
  if (text.length < KEY_BYTES)
    throw new Error(
      `what state.key_file names is shorter than ${KEY_BYTES} characters: openssl rand -base64 32`,
    );
  return Buffer.from(text);
}

function listen(subscriber: Client, channel: string, take: (message: string) => void): void {
  subscriber.on('message', (of: string, message: string) => {
    if (of === channel) take(message);
  });
  const subscribe = (): void => void subscriber.subscribe(channel).catch(() => {});
  subscriber.on('ready', subscribe);
  if (subscriber.status === 'ready') subscribe();
}

/** Beats twice a second, and says when that stops and goes on. */
class Heart {
  readonly #link: Link;
  readonly #sessions: RedisSessions;
  readonly #log: Log;
  readonly #onAnew: () => void;
  readonly #first = Promise.withResolvers<void>();
  #timer: NodeJS.Timeout | undefined;
  #beating = false;
  #wanted = false;
  #closed = false;
  /** Undefined until it is known. */
  #told: boolean | undefined;

  constructor(link: Link, sessions: RedisSessions, log: Log, onAnew: () => void) {
    this.#onAnew = onAnew;
    this.#link = link;
    this.#sessions = sessions;
    this.#log = log;
  }

  /** Settles after the first beat, which waits for the connection, but not for ever. */
  async start(client: Client): Promise<void> {
    const settled = new Promise<void>(resolve => {
      client.once('ready', resolve);
      client.once('close', resolve);
      setTimeout(resolve, START_MS).unref();
    });
    if (client.status !== 'ready') await settled;
    void this.#beat();
    await this.#first.promise;
  }

  beatNow(): void {
    clearTimeout(this.#timer);
    void this.#beat();
  }

  stop(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #beat(): Promise<void> {
    this.#wanted = true;
    if (this.#beating) return;
    this.#beating = true;
    while (this.#wanted && !this.#closed) {
      this.#wanted = false;
      await this.#sessions.beat().then(
        isAnew => {
          this.#tell(true);
          if (isAnew) this.#onAnew();
        },
        (thrown: unknown) => this.#tell(false, thrown),
      );
    }
    this.#beating = false;
    if (!this.#closed)
      this.#timer = setTimeout(() => void this.#beat(), this.#link.up ? BEAT_MS : RETRY_MS).unref();
  }

  #tell(up: boolean, thrown?: unknown): void {
    this.#link.up = up && !this.#closed;
    this.#first.resolve();
    if (this.#told === up || this.#closed) return;
    this.#told = up;
    if (up) return this.#log.info('state: Redis answers');
    const cause = (thrown as { cause?: unknown }).cause ?? thrown;
    this.#log.error('state: Redis does not answer; no new session is admitted', { cause });
  }
}

/** Of the first connection. */
const START_MS = 2500;

/** A Redis that throws away what is not used would end sessions. */
async function warnOfEviction(client: Client, log: Log): Promise<void> {
  const memory = await client.info('memory').catch(() => '');
  const policy = /^maxmemory_policy:(\S+)/m.exec(memory)?.[1] ?? 'noeviction';
  if (policy !== 'noeviction')
    log.warn('Redis may evict sessions, which then end: set maxmemory-policy noeviction', { policy });
}
