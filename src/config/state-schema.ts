import { z } from 'zod';
import { parseAuthority } from '../policy/host.ts';
import type { RedisOptions } from '../state/redis/options.ts';
import { checked, flag, integer, kindOf, list, parsed, path } from './fields.ts';
import { wordIssue } from './issues.ts';
import { parseDuration } from './scalars.ts';
import { looksSecret } from './secrets.ts';

const WRITE = 'write memory, redis://host:6379/0, or a mapping with `url`, `sentinels` or `cluster`';
/** A beat that is late must not suspend everybody. */
const LEAST_GRACE_MS = 2000;
const REDIS_PORT = 6379;
const SENTINEL_PORT = 26_379;
const MAX_DB = 1023;

interface Address {
  readonly host: string;
  readonly port: number;
}

/** What a URL says. */
interface Server extends Address {
  readonly tls: boolean;
  readonly db: number;
  readonly username?: string;
}

/** `redis://[user@]host[:port][/db]`, or rediss: with TLS; else what is wrong with it. */
export function parseServer(text: string): Server | string {
  const url = URL.parse(text);
  if (!url || !/^rediss?:$/.test(url.protocol)) return `is not a kind of state; ${WRITE}`;
  if (url.password !== '')
    return 'holds a password; put it into a file, and write `{ url: redis://host:6379/0, password_file: /run/secrets/redis }`, or `password_env`';
  const address = parseAuthority(url.host, REDIS_PORT);
  const db = Number(/^\/?(\d{0,4})$/.exec(url.pathname)?.[1] ?? Number.NaN);
  if (!address || !(db <= MAX_DB) || url.search + url.hash !== '')
    return 'is not the address of a Redis; write redis://host:6379/0, or rediss:// for TLS';
  const username = decoded(url.username);
  return { ...address, db, tls: url.protocol === 'rediss:', ...(username && { username }) };
}

/** Percent-decoded, as URLs are written. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const server = () =>
  z
    .string({ error: ({ input }) => `is ${kindOf(input)}; write redis://host:6379/0` })
    .transform((text, context) => {
      const found = parseServer(text);
      if (typeof found !== 'string') return found;
      context.issues.push({ code: 'custom', message: found, input: undefined });
      return z.NEVER;
    });

const addresses = (port: number) =>
  list(
    parsed(`host:port, such as redis-1.corp:${port}`, text => parseAuthority(text, port)),
    `a list of addresses, such as [redis-1.corp:${port}]`,
    'write at least one address',
  ).optional();

const plain = (what: string) =>
  checked(what, text =>
    /^[\x21-\x7e]{1,128}$/.test(text) ? undefined : `is not ${what}; write letters and digits`,
  );

const variable = () =>
  checked('the name of an environment variable', text =>
    /^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(text) && !looksSecret(text)
      ? undefined
      : 'is not the name of an environment variable; write one such as REDIS_PASSWORD, never the secret itself',
  ).optional();

const file = (what: string) => path(what).optional();

const fields = z
  .strictObject({
    url: server().optional().describe('`redis://[user@]host:port/db`, or `rediss://` for TLS; no password.'),
    sentinels: addresses(SENTINEL_PORT).describe('Sentinels that know where the server is; needs `name`.'),
    name: plain('a name').optional().describe('What the sentinels call the server.'),
    cluster: addresses(REDIS_PORT).describe('Some nodes of a cluster.'),
    db: integer(0, MAX_DB)
      .optional()
      .describe('Database behind sentinels (default 0); with `url` it stands there.'),
    tls: flag()
      .optional()
      .describe('TLS to sentinels, servers and nodes; with `url` write rediss:// instead.'),
    username: plain('a user name').optional().describe('Of an ACL (Redis 6 and newer).'),
    password_file: file('a file').describe('File that holds the password.'),
    password_env: variable().describe('Variable that holds the password.'),
    sentinel_username: plain('a user name').optional().describe('Of an ACL of the sentinels.'),
    sentinel_password_file: file('a file').describe('File that holds the password of the sentinels.'),
    sentinel_password_env: variable().describe('Variable that holds the password of the sentinels.'),
    ca_file: file('a PEM file').describe('CA certificates to trust, besides those of the system.'),
    cert_file: file('a PEM file').describe(
      'Client certificate, if Redis asks for one; needs `cert_key_file`.',
    ),
    cert_key_file: file('a PEM file').describe('Private key of the client certificate.'),
    key_file: file('a file').describe(
      'Key that all gates share and Redis does not have, 32 characters or more; without it the CA’s key.',
    ),
    key_env: variable().describe('Variable that holds that key.'),
    grace: parsed('a time such as 30s, at least 2s', text => {
      const ms = parseDuration(text);
      return ms !== undefined && ms >= LEAST_GRACE_MS ? ms : undefined;
    })
      .prefault('30s')
      .describe('How long sessions go on while Redis does not answer (default 30s).'),
    prefix: checked('a prefix', text =>
      /^[A-Za-z0-9_.:-]{1,64}$/.test(text) ? undefined : 'is not a prefix; write letters, digits, _ . : -',
    )
      .default('stubgate')
      .describe('What the names of all keys begin with (default stubgate).'),
  })
  .superRefine((of, context) => {
    for (const [key, message] of faults(of)) context.addIssue({ code: 'custom', path: [key], message });
  });

type Fields = z.output<typeof fields>;

/** What one key says about another. */
function* faults(of: Fields): Generator<readonly [string, string]> {
  const [mode, ...others] = (['url', 'sentinels', 'cluster'] as const).filter(key => of[key] !== undefined);
  if (mode === undefined) yield ['url', 'is missing; write `url`, `sentinels` or `cluster`'];
  for (const key of others) yield [key, `does not go with \`${mode}\`; write one of the two`];
  if (mode === 'sentinels' && of.name === undefined)
    yield ['name', 'is missing; write what the sentinels call the server'];
  if (mode !== 'sentinels') {
    for (const key of [
      'name',
      'sentinel_username',
      'sentinel_password_file',
      'sentinel_password_env',
    ] as const)
      if (of[key] !== undefined) yield [key, 'goes with `sentinels` only; leave it out'];
    if (of.db !== undefined)
      yield [
        'db',
        mode === 'url' ? 'goes into `url`; write redis://host:6379/1' : 'is not for a cluster; leave it out',
      ];
  }
  if (mode === 'url' && of.tls !== undefined) yield ['tls', 'goes into `url`; write rediss:// there for TLS'];
  if (of.url?.username !== undefined && of.username !== undefined)
    yield ['username', 'is in `url` too; write it in one place'];
  const hasTls = of.tls ?? of.url?.tls ?? false;
  for (const key of ['ca_file', 'cert_file', 'cert_key_file'] as const)
    if (of[key] !== undefined && !hasTls && mode !== undefined)
      yield [key, `needs TLS; write ${mode === 'url' ? 'rediss:// in `url`' : '`tls: true`'}`];
  if ((of.cert_file === undefined) !== (of.cert_key_file === undefined))
    yield [
      of.cert_file === undefined ? 'cert_file' : 'cert_key_file',
      'is missing; a client certificate needs its key',
    ];
  for (const key of ['password', 'sentinel_password', 'key'] as const)
    if (of[`${key}_file`] !== undefined && of[`${key}_env`] !== undefined)
      yield [`${key}_env`, `does not go with \`${key}_file\`; write one of the two`];
}

/** `state:` as text or as a mapping; a union would not tell where its faults are. */
export const stateSchema = z
  .unknown()
  .transform((value, context): 'memory' | Fields => {
    if (value === 'memory') return value;
    const isText = typeof value === 'string';
    const isMapping = typeof value === 'object' && value !== null && !Array.isArray(value);
    if (isText || isMapping) {
      const read = fields.safeParse(isText ? { url: value } : value, { error: wordIssue });
      if (read.success) return read.data;
      for (const issue of read.error.issues)
        context.issues.push({ ...issue, ...(isText && { path: [] }), input: undefined });
    } else {
      context.issues.push({ code: 'custom', message: `is ${kindOf(value)}; ${WRITE}`, input: undefined });
    }
    return z.NEVER;
  })
  .meta({
    default: 'memory',
    description:
      'Where sessions are kept: `memory` (default), or a Redis for more than one gate: `redis://host:6379/0`, or a mapping.',
    anyOf: [{ type: 'string' }, jsonOf(fields)],
  });

function jsonOf(schema: z.ZodType): object {
  const { $schema: _, ...json } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  return json;
}

/** The checked keys as one thing. `locate`: paths from the folder of the file. */
export function redisOptions(of: Fields, locate: (path: string) => string): RedisOptions {
  const {
    url,
    sentinels,
    cluster,
    name,
    username = url?.username,
    sentinel_username,
    ca_file,
    cert_file,
    cert_key_file,
  } = of;
  const place = (key: 'password' | 'sentinel_password' | 'key') => {
    const at = { file: of[`${key}_file`], env: of[`${key}_env`] };
    if (at.file !== undefined) return { file: locate(at.file) };
    return at.env === undefined ? undefined : { env: at.env };
  };
  const [password, sentinelPassword, key] = [place('password'), place('sentinel_password'), place('key')];
  const tls = {
    ...(ca_file !== undefined && { ca: locate(ca_file) }),
    ...(cert_file !== undefined && { cert: locate(cert_file) }),
    ...(cert_key_file !== undefined && { key: locate(cert_key_file) }),
  };
  return {
    mode: sentinels ? 'sentinel' : cluster ? 'cluster' : 'server',
    nodes: sentinels ?? cluster ?? (url ? [{ host: url.host, port: url.port }] : []),
    db: url?.db ?? of.db ?? 0,
    tls: (url?.tls ?? of.tls) ? tls : undefined,
    graceMs: of.grace,
    prefix: of.prefix,
    ...(name !== undefined && { name }),
    ...(username !== undefined && { username }),
    ...(password && { password }),
    ...(sentinel_username !== undefined && { sentinelUsername: sentinel_username }),
    ...(sentinelPassword && { sentinelPassword }),
    ...(key && { key }),
  };
}
