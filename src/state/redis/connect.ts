import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';
import type { Cluster, Redis } from 'ioredis';
import { systemRoots } from '../../roots.ts';
import { readSource } from '../../vaults/source.ts';
import { mend } from './mend.ts';
import type { Place, RedisOptions, TlsFiles } from './options.ts';

export type Client = Redis | Cluster;

/** Of one command. */
export const COMMAND_MS = 1000;
const CONNECT_MS = 2000;
/** A connection on which an answer is due for so long is given up: the other end may be gone without a word. */
const SILENCE_MS = 3000;

/** Two connections that connect by themselves, now and whenever they are cut. Throws an Error for the operator. */
export async function connect(options: RedisOptions): Promise<{ commands: Client; subscriber: Client }> {
  const secrets = {
    password: await secretAt('password', options.password),
    sentinelPassword: await secretAt('sentinel_password', options.sentinelPassword),
  };
  const tls = options.tls && tlsOptions(options.tls);
  const { Cluster, Redis, SentinelConnector } = await import('ioredis');
  mend(Redis, SentinelConnector);
  const open = (waits: boolean): Client => {
    const one = { ...common(options, tls), ...(waits ? {} : { socketTimeout: SILENCE_MS }) };
    const { password } = secrets;
    const client =
      options.mode === 'cluster'
        ? new Cluster([...options.nodes], clusterOptions({ ...one, ...defined({ password }) }))
        : new Redis({ ...one, ...single(options, tls), ...defined(secrets) });
    // What fails says so itself.
    client.on('error', () => {});
    client.connect().catch(() => {});
    return client;
  };
  return { commands: open(false), subscriber: open(true) };
}

const backoff = (times: number): number => Math.min(50 * 2 ** Math.min(times, 6), 1000);

function common(options: RedisOptions, tls: ConnectionOptions | undefined) {
  const { username } = options;
  return {
    protocol: 2 as const,
    replyMapping: 'legacy' as const,
    lazyConnect: true,
    // Nothing waits for a connection, and nothing is said twice.
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    commandTimeout: COMMAND_MS,
    connectTimeout: CONNECT_MS,
    disableClientInfo: true,
    connectionName: 'stubgate',
    // After a failover the old server may have become a replica: whoever is asked anew knows the new one.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
    ...(username !== undefined && { username }),
    ...(tls && { tls }),
  };
}

function single(options: RedisOptions, tls: ConnectionOptions | undefined) {
  const { mode, nodes, name, db, sentinelUsername } = options;
  if (mode === 'server') return { ...nodes[0], db, retryStrategy: backoff };
  return {
    sentinels: [...nodes],
    ...(name !== undefined && { name }),
    db,
    retryStrategy: backoff,
    sentinelRetryStrategy: backoff,
    sentinelCommandTimeout: COMMAND_MS,
    failoverDetector: true,
    ...(sentinelUsername !== undefined && { sentinelUsername }),
    ...(tls && { sentinelTLS: tls, enableTLSForSentinelMode: true }),
  };
}

function clusterOptions<T extends object>(redisOptions: T) {
  return {
    lazyConnect: true,
    enableOfflineQueue: false,
    clusterRetryStrategy: backoff,
    clusterNodeRetryStrategy: backoff,
    slotsRefreshTimeout: COMMAND_MS,
    redisOptions,
  };
}

function tlsOptions({ ca, cert, key }: TlsFiles): ConnectionOptions {
  return {
    ca: [...systemRoots(), ...(ca === undefined ? [] : [pem(ca, 'ca_file')])],
    ...(cert !== undefined && { cert: pem(cert, 'cert_file') }),
    ...(key !== undefined && { key: pem(key, 'cert_key_file') }),
    minVersion: 'TLSv1.2',
    // Said outright, because an environment variable can turn the default off.
    rejectUnauthorized: true,
  };
}

function pem(file: string, option: string): string {
  try {
    const text = readFileSync(file, 'utf8');
    if (!text.includes('-----BEGIN ')) throw new Error('it holds no PEM');
    return text;
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new Error(`state.${option} ${file} cannot be used: ${code ?? message}`, { cause });
  }
}

/** Throws VaultError, which names the option and not the value. */
export async function secretAt(name: string, place: Place | undefined): Promise<string | undefined> {
  return place && readSource({ name, ...place });
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

function defined<T extends object>(values: T): Defined<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Defined<T>;
}
