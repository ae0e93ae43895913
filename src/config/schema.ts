import { z } from 'zod';
import { DEFAULT_SHAPE, parseShape, SHAPES } from '../inject/shape.ts';
import { parseCidr } from '../policy/address.ts';
import { canonicalRuleHost } from '../policy/host.ts';
import type { Registry } from '../registry.ts';
import type { CanonicalHost } from '../types.ts';
import { alarmsSchema, onAlarm } from './alarms-schema.ts';
import { checked, integer, listed, name, oneOf, parsed, path, wrong } from './fields.ts';
import { identitySchema } from './identity-schema.ts';
import { credentialLimits, profileLimits } from './limits-schema.ts';
import { plugins, ruleSchema } from './rule-schema.ts';
import {
  MAX_WORKERS,
  parseDuration,
  parseListen,
  parseParentProxy,
  parseResolvedTo,
  parseSecretRef,
  parseSize,
} from './scalars.ts';
import { stateSchema } from './state-schema.ts';

const MINUTE = 60_000;
/** Longest life of a session where no profile says another. */
export const DEFAULT_SESSION_MS = 60 * MINUTE;
const duration = () => parsed('a time such as 500ms, 30s, 5m or 1h, at most 24d', parseDuration);
const size = () => parsed('a size such as 512B, 32KiB or 1MiB', parseSize);

/** What `from` is. */
export const SOURCE =
  'where the secret is, as <vault>:<id>[?version=V][#json-field], such as env:GITHUB_TOKEN';

const staleFor = () =>
  duration()
    .optional()
    .describe(
      'How much longer than its ttl the last good value is used while its vault cannot be reached; never for a secret that the vault says is gone (default: not at all).',
    );

const listen = z.strictObject({
  proxy: parsed('an address such as 127.0.0.1:8080, or unix:/path', parseListen)
    .prefault('127.0.0.1:8080')
    .describe('Where sandboxes reach the proxy: `host:port` or `unix:/path` (default 127.0.0.1:8080).'),
  admin: parsed('an address such as 127.0.0.1:8081, or unix:/path', parseListen)
    .prefault('127.0.0.1:8081')
    .describe('Where the control plane listens, out of reach of every sandbox (default 127.0.0.1:8081).'),
  tls: z
    .strictObject({
      cert_file: path('a PEM file').describe(
        'Certificate of the proxy, with its chain. Read again when it changes.',
      ),
      key_file: path('a PEM file').describe('Its private key.'),
      client_certificates: oneOf(['optional', 'required'])
        .default('optional')
        .describe(
          'Whether a connection without a certificate of a CA of `identity` is refused (default optional).',
        ),
    })
    .optional()
    .describe('The proxy speaks TLS: sandboxes write HTTPS_PROXY=https://…'),
  workers: z
    .union(
      [z.literal('auto'), integer(1, MAX_WORKERS)],
      wrong(`a whole number from 1 to ${MAX_WORKERS}, or auto`),
    )
    .default(1)
    .describe('Processes that serve the proxy; `auto`: one for each core (default 1).'),
});

const ca = z.strictObject({
  dir: path('a folder')
    .default('./certs')
    .describe('Folder of the CA and of the admin token; created on first start (default ./certs).'),
  cert: path('a PEM file').optional().describe('Certificate of a CA of your own; needs `key`.'),
  key: path('a PEM file').optional().describe('Private key of a CA of your own; needs `cert`.'),
});

const credential = (minters: Registry<unknown>) =>
  z.strictObject({
    from: parsed(SOURCE, parseSecretRef)
      .optional()
      .describe(
        'Where the real secret is: `<vault>:<id>[?version=V][#json-field]`. Only `mint: { type: aws-sts }`, or one with `subject: session`, can do without.',
      ),
    stub: z
      .strictObject({
        env: checked('the name of an environment variable', text =>
          /^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(text)
            ? undefined
            : 'is not the name of an environment variable; write one such as GITHUB_TOKEN',
        )
          .optional()
          .describe('Environment variable in which the sandbox finds the stub.'),
        shape: checked('a shape', shapeFault)
          .default(DEFAULT_SHAPE)
          .describe(
            `What the stub looks like: ${listed(Object.keys(SHAPES))}, or a template in which {n} stands for n random letters and digits.`,
          ),
      })
      .prefault({})
      .describe('What the sandbox holds instead of the secret.'),
    ttl: duration()
      .default(5 * MINUTE)
      .describe('How long a value that was read may be used (default 5m).'),
    stale_for: staleFor(),
    capture: z
      .literal(true, wrong('true, or leave it out'))
      .optional()
      .describe('Handed out by upstreams, where `capture` of a rule says; instead of `from`.'),
    mint: plugins(minters, 'type', 'minted token', {})
      .optional()
      .describe('Makes a short-lived token of the secret; the token is injected, the secret never.'),
    limits: credentialLimits.optional().describe('What all sessions together may do with it.'),
  });

const profile = z.strictObject({
  rules: z
    .array(name('rule'), { error: 'is not a list; write the names of rules, such as [github-api]' })
    .describe('Names of the rules that hold, each once.'),
  ttl: duration()
    .default(60 * MINUTE)
    .describe('Longest life of a session (default 1h).'),
  limits: profileLimits.optional().describe('What its sessions may use up.'),
  on_alarm: onAlarm()
    .optional()
    .describe('`log`, or `revoke` to end a session that raises an alarm (default: as `alarms` has it).'),
});

const upstream = z.strictObject({
  ca_file: path('a PEM file').optional().describe('CA certificates to trust, besides those of the system.'),
  resolve: z
    .record(
      checked('a host', resolvedHostFault),
      parsed('an IP address, or address:port, that is no metadata address', parseResolvedTo),
    )
    .prefault({})
    .transform(canonicalKeys)
    .describe(
      'Host → IP address, with or without port, to dial instead of asking DNS. Permits that address.',
    ),
  allow_private: z
    .array(parsed('a CIDR such as 10.1.0.0/16, without bits behind the prefix', parseCidr))
    .default([])
    .describe('Ranges that may be dialled although they are not public. Metadata addresses never.'),
  proxy: parsed('http://host:port, without user and password', parseParentProxy)
    .optional()
    .describe('Parent proxy: `http://host:port` or `https://host:port`.'),
});

const http2 = z.strictObject({
  streams: integer(1, 10_000).default(100).describe('Streams under way on one connection (default 100).'),
  session_streams: integer(1, 100_000)
    .default(256)
    .describe('Streams under way of one session, on all of its connections (default 256).'),
  window: parsed('a size from 1KiB to 16MiB', windowSize)
    .default(64 * 1024)
    .describe('What a client may send on one stream before it is read (default 64KiB).'),
  memory: size()
    .default(10 * 1024 * 1024)
    .describe('Heads, and what waits to be sent, on one connection; in steps of 1MiB (default 10MiB).'),
  resets: integer(1, 1_000_000)
    .default(200)
    .describe('Streams that a client may reset at once (default 200).'),
  resets_per_second: integer(1, 1_000_000).default(50).describe('And in each further second (default 50).'),
  pings: integer(1, 1_000_000)
    .default(1000)
    .describe('PING and SETTINGS frames that a client may send at once (default 1000).'),
  pings_per_second: integer(1, 1_000_000).default(200).describe('And in each further second (default 200).'),
  invalid_frames: integer(1, 100_000)
    .default(100)
    .describe('Frames that break HTTP/2 without ending its connection (default 100).'),
});

const limits = z.strictObject({
  head: size()
    .default(32 * 1024)
    .describe('Request head (default 32KiB).'),
  uri: size()
    .default(16 * 1024)
    .describe('Request target (default 16KiB).'),
  headers: integer(1, 10_000).default(200).describe('Fields in a head (default 200).'),
  head_time: duration().default(10_000).describe('From the first byte of a head to its last (default 10s).'),
  idle: duration().default(MINUTE).describe('A connection between two requests (default 1m).'),
  body_idle: duration().default(MINUTE).describe('Between two pieces of a body (default 1m).'),
  response_time: duration()
    .default(5 * MINUTE)
    .describe('From the end of a request to the upstream’s response head (default 5m).'),
  tunnels: integer(1, 100_000).default(256).describe('Open tunnels of one session (default 256).'),
  denied_tunnels: integer(0, 100_000)
    .default(32)
    .describe('Open tunnels of one session that only carry a readable refusal (default 32).'),
  http2: http2
    .prefault({})
    .describe('HTTP/2 of a sandbox’s client; `head`, `uri` and `headers` count in it, too.'),
  drain: duration().default(30_000).describe('What running requests get at shutdown (default 30s).'),
});

/** The parts of a configuration that have keys of their own, built from the registered plug-ins. */
export function configSchema(
  vaultTypes: Registry<unknown>,
  placements: Registry<unknown>,
  minters: Registry<unknown>,
) {
  return z
    .strictObject({
      version: z.literal(1, wrong('1')).describe('Always 1.'),
      listen: listen.prefault({}).describe('The two listeners.'),
      ca: ca.prefault({}).describe('The CA that signs what sandboxes see.'),
      state: stateSchema.default('memory'),
      identity: identitySchema,
      audit: z
        .strictObject({
          file: path('a file')
            .default('./audit.jsonl')
            .describe('One JSON line per request; chained (default ./audit.jsonl).'),
        })
        .prefault({})
        .describe('The record of all that was asked for.'),
      alarms: alarmsSchema
        .prefault({})
        .describe('What follows when a request holds a stub where none may be, or a real secret.'),
      vaults: z
        .record(name('vault'), plugins(vaultTypes, 'type', 'vault', { stale_for: staleFor() }))
        .default({})
        .describe('Where real secrets live, by name. `env` and `file` need no entry.'),
      credentials: z
        .record(name('credential'), credential(minters))
        .default({})
        .describe('Secrets, by name.'),
      rules: z
        .array(ruleSchema(placements), { error: 'is not a list; write one `- name: …` item for each rule' })
        .default([])
        .describe('First match wins; no match denies.'),
      profiles: z
        .record(name('profile'), profile, {
          error: 'is empty or no mapping; write profiles, or leave it out for one profile with every rule',
        })
        .optional()
        .describe('Selections of rules, by name. Without it one profile, `default`, holds every rule.'),
      upstream: upstream.prefault({}).describe('How hosts are reached.'),
      limits: limits.prefault({}).describe('What one sandbox, and one request, may use up.'),
    })
    .describe('Configuration of Stubgate.');
}

/** Below, HTTP/2 does not get along; above, each stream may hold too much. */
function windowSize(text: string): number | undefined {
  const bytes = parseSize(text);
  return bytes !== undefined && bytes >= 1024 && bytes <= 16 * 1024 * 1024 ? bytes : undefined;
}

function canonicalKeys<T>(hosts: Readonly<Record<string, T>>): Map<CanonicalHost, T> {
  return new Map(
    Object.entries(hosts).map(([text, value]) => [canonicalRuleHost(text) as CanonicalHost, value]),
  );
}

function resolvedHostFault(text: string): string | undefined {
  const host = canonicalRuleHost(text);
  return host === undefined || host.startsWith('*')
    ? 'is not one host; write one such as api.example.com'
    : undefined;
}

function shapeFault(text: string): string | undefined {
  try {
    parseShape(text);
    return undefined;
  } catch {
    // Its message quotes the text, which could be a real token.
    return `is not a shape; write ${listed(Object.keys(SHAPES))}, or a template of letters, digits, _ . - ~ : with one part of {20} or more, such as "sk-{48}"`;
  }
}
