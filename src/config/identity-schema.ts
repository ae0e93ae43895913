import { z } from 'zod';
import type { ClaimPath, IdentityEntry, KeySource } from '../identity/entry.ts';
import { compileClaimGlob, MAX_TEXT } from '../identity/glob.ts';
import { endpoint, isEndpoint } from '../mint/fields.ts';
import { LABEL_NAME } from '../state/session.ts';
import { checked, kindOf, list, listed, oneOf, parsed, path, wrong } from './fields.ts';
import { parseDuration } from './scalars.ts';

/** Signed with a key of which the gate has the public half only (RFC 7518, RFC 8037). */
const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
] as const;
const MAX_SKEW_MS = 300_000;
/** What a certificate says, see identity/client-certificate.ts. */
const CERTIFICATE_CLAIM = /^(?:spiffe|trust_domain|dns|subject|serial|\/(?:path|dns)\/\d{1,3})$/;
const CERTIFICATE_CLAIMS =
  'spiffe, trust_domain, dns, subject or serial, or /path/1 for a segment of the SPIFFE ID';
const JWT_CLAIM = /^(?:[^\s/\p{Cc}][^\s\p{Cc}]{0,127}|(?:\/(?:[^\s~/\p{Cc}]|~[01])+){1,8})$/u;
const JWT_CLAIMS = 'a name such as repository, or a JSON Pointer such as /kubernetes.io/namespace';

type Kind = 'jwt' | 'client-certificate';

const isClaim = (kind: Kind, text: string): boolean =>
  (kind === 'jwt' ? JWT_CLAIM : CERTIFICATE_CLAIM).test(text);
const claims = (kind: Kind): string => (kind === 'jwt' ? JWT_CLAIMS : CERTIFICATE_CLAIMS);
const claim = (kind: Kind) =>
  checked(`a claim: ${claims(kind)}`, text =>
    isClaim(kind, text) ? undefined : `is not a claim; write ${claims(kind)}`,
  );

const duration = (expected: string, most?: number) =>
  parsed(expected, text => {
    const ms = text === '0s' ? 0 : parseDuration(text);
    return ms !== undefined && (most === undefined || ms <= most) ? ms : undefined;
  });

type Complain = (path: readonly PropertyKey[], message: string) => void;
type Written = Readonly<Record<string, unknown>>;

/** A value of several forms: a union would not tell where its faults are. */
function formed<T>(read: (value: unknown, complain: Complain) => T, json: Written) {
  return z
    .unknown()
    .transform((value, context): T => {
      let isBad = false;
      const made = read(value, (at, message) => {
        isBad = true;
        context.issues.push({ code: 'custom', path: [...at], message, input: undefined });
      });
      return isBad ? z.NEVER : made;
    })
    .meta(json);
}

const isMapping = (value: unknown): value is Written =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function matchOf(kind: Kind) {
  const example = kind === 'jwt' ? '{ repository: acme/* }' : '{ spiffe: "spiffe://corp/ns/ci/sa/*" }';
  const write = `write what it must say, such as ${example}, or \`any\` for whoever the issuer vouches for`;
  return formed<readonly (readonly [ClaimPath, readonly string[]])[]>(
    (value, complain) => {
      if (value === 'any') return [];
      if (!isMapping(value)) complain([], `is ${kindOf(value)}; ${write}`);
      else if (Object.keys(value).length === 0) complain([], `is empty; ${write}`);
      return Object.entries(isMapping(value) ? value : {}).map(([key, globs]) => {
        if (!isClaim(kind, key)) complain([key], `is not a claim; write ${claims(kind)}`);
        const texts = Array.isArray(globs) ? (globs as unknown[]) : [globs];
        const isText = (text: unknown): boolean =>
          typeof text === 'string' && text !== '' && text.length <= MAX_TEXT && !text.includes('***');
        if (texts.length === 0 || !texts.every(isText))
          complain(
            [key],
            'is not a text, or a list of texts; write such as acme/*, in quotes if it starts with *',
          );
        return [key, texts as string[]] as const;
      });
    },
    {
      description:
        'Claim → text or list of texts, one of which it must be; `*`: any run of characters but / : and , – `**`: any at all. All claims must match. `any`: no condition.',
      anyOf: [
        { const: 'any' },
        {
          type: 'object',
          minProperties: 1,
          additionalProperties: { anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' } }] },
        },
      ],
    },
  );
}

function profileOf(kind: Kind) {
  return formed<string | { claim: string; values: ReadonlyMap<string, string> }>(
    (value, complain) => {
      if (typeof value === 'string') return value;
      const { claim: of, values, ...rest } = isMapping(value) ? value : {};
      if (!isMapping(value))
        complain([], `is ${kindOf(value)}; write the name of a profile, or { claim: …, values: { … } }`);
      else if (typeof of !== 'string' || !isClaim(kind, of))
        complain(['claim'], `is not a claim; write ${claims(kind)}`);
      for (const key of Object.keys(rest))
        complain([key], 'is no key of this mapping; write claim or values');
      const isNames = isMapping(values) && Object.values(values).every(text => typeof text === 'string');
      if (isMapping(value) && !isNames)
        complain(
          ['values'],
          'is no mapping of what the claim may be to the names of profiles; write such as { acme/web: web }',
        );
      return { claim: String(of), values: new Map(Object.entries(isNames ? values : {})) as never };
    },
    {
      description:
        'Profile of the session: its name, or `{ claim, values: { value of the claim: name } }`; any other value is denied.',
      anyOf: [
        { type: 'string' },
        {
          type: 'object',
          required: ['claim', 'values'],
          additionalProperties: false,
          properties: {
            claim: { type: 'string', description: 'Claim that decides.' },
            values: {
              type: 'object',
              description: 'Value → profile.',
              additionalProperties: { type: 'string' },
            },
          },
        },
      ],
    },
  );
}

const common = (kind: Kind) => ({
  match: matchOf(kind),
  profile: profileOf(kind),
  sub: claim(kind)
    .default(kind === 'jwt' ? 'sub' : 'spiffe')
    .describe(`Claim that is the session's \`sub\` (default ${kind === 'jwt' ? 'sub' : 'spiffe'}).`),
  labels: z
    .record(
      checked('a label', text =>
        LABEL_NAME.test(text)
          ? undefined
          : 'is not a label; write 1 to 63 of A-Z a-z 0-9 _ . / -, such as repo',
      ),
      claim(kind),
    )
    .default({})
    .describe('Label → claim. A credential without that claim is denied.'),
  ttl: duration('a time such as 30m or 1h')
    .optional()
    .describe(
      'Longest time from the issue of the credential to the end of its session; the profile’s `ttl` bounds it, too.',
    ),
});

const jwt = z
  .strictObject({
    type: z
      .literal('jwt')
      .describe('A signed JWT (RFC 7519), such as an OIDC ID token or a Kubernetes service account token.'),
    issuer: checked('the issuer', text =>
      text.length <= 512 && /^[\x21-\x7e]+$/.test(text)
        ? undefined
        : 'is not an issuer; write what `iss` is, such as https://token.actions.githubusercontent.com',
    ).describe('What `iss` must be, exactly.'),
    audience: formed<readonly string[]>(
      (value, complain) => {
        const texts = Array.isArray(value) ? (value as unknown[]) : [value];
        if (
          texts.length === 0 ||
          !texts.every(text => typeof text === 'string' && /^[\x21-\x7e]{1,512}$/.test(text))
        )
          complain(
            [],
            `is ${value === undefined ? 'missing' : 'not valid'}; write whom the tokens are for, such as stubgate: a name that nobody else accepts`,
          );
        return texts as string[];
      },
      {
        description: 'What `aud` must have, one of them; a name that is this gate’s alone.',
        anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' }, minItems: 1 }],
      },
    ),
    jwks_url: endpoint()
      .optional()
      .describe('Where the issuer’s public keys are; default: as its discovery document says.'),
    jwks_file: path('a JWK Set')
      .optional()
      .describe('File with the public keys; read again when it changes.'),
    algorithms: list(oneOf(ALGORITHMS), `a list of ${listed(ALGORITHMS)}`, 'leave it out for all of them')
      .default([...ALGORITHMS])
      .describe('Signatures that are accepted (default: all that are asymmetric).'),
    clock_skew: duration('a time up to 5m, such as 30s', MAX_SKEW_MS)
      .prefault('30s')
      .describe('How much the issuer’s clock may be ahead (default 30s).'),
    stale_for: duration('a time such as 1h')
      .prefault('1h')
      .describe(
        'How long known keys are used while the issuer cannot be reached, after the 10 minutes for which they are fresh (default 1h).',
      ),
    act: claim('jwt').optional().describe('Claim that is the session’s `act`, such as /act/sub.'),
    ...common('jwt'),
  })
  .superRefine(({ issuer, jwks_url, jwks_file }, context) => {
    const complain = (at: string, message: string): void =>
      context.addIssue({ code: 'custom', path: [at], message });
    if (jwks_url !== undefined && jwks_file !== undefined)
      complain('jwks_file', 'does not go with `jwks_url`; write one of the two');
    if (jwks_url === undefined && jwks_file === undefined && !isEndpoint(issuer))
      complain('issuer', 'is no https URL where keys could be found; write `jwks_url` or `jwks_file` too');
  })
  .describe('A signed JWT (RFC 7519), such as an OIDC ID token or a Kubernetes service account token.');

const certificate = z
  .strictObject({
    type: z.literal('client-certificate').describe('A TLS client certificate; needs `listen.tls`.'),
    ca_file: path('a PEM file').describe(
      'CA certificates that may have signed it; nobody else may. Read again when it changes.',
    ),
    ...common('client-certificate'),
  })
  .describe('A TLS client certificate; needs `listen.tls`.');

export const identitySchema = z
  .array(
    z.discriminatedUnion('type', [jwt, certificate], {
      error: ({ code, input }) => {
        const kinds = 'jwt or client-certificate';
        if (code !== 'invalid_union') return `is ${kindOf(input)}; write a mapping with \`type\`: ${kinds}`;
        return `${Object.hasOwn(input as object, 'type') ? 'is not known' : 'is missing'}; write ${kinds}`;
      },
    }),
    wrong('a list of mappings, each with `type`'),
  )
  .default([])
  .describe(
    'Credentials of others that open a session, besides the session’s own token; the first entry that takes one decides.',
  );

type Parsed = z.output<typeof identitySchema>[number];

/** The checked keys as entries. `locate`: paths from the folder of the file. */
export function identityEntries(
  parsedEntries: readonly Parsed[],
  locate: (path: string) => string,
): IdentityEntry[] {
  return parsedEntries.map(of => {
    const shared = {
      match: of.match.map(([key, globs]) => ({ claim: key, globs: globs.map(compileClaimGlob) })),
      profile: of.profile,
      sub: of.sub,
      labels: new Map(Object.entries(of.labels)),
      ...(of.ttl !== undefined && { ttlMs: of.ttl }),
    };
    if (of.type === 'client-certificate') return { type: of.type, ...shared, caFile: locate(of.ca_file) };
    return {
      type: of.type,
      ...shared,
      ...(of.act !== undefined && { act: of.act }),
      issuer: of.issuer,
      audience: of.audience,
      keys: keySource(of, locate),
      algorithms: of.algorithms,
      clockSkewMs: of.clock_skew,
      staleForMs: of.stale_for,
    };
  });
}

function keySource(
  { issuer, jwks_url, jwks_file }: Extract<Parsed, { type: 'jwt' }>,
  locate: (path: string) => string,
): KeySource {
  if (jwks_file !== undefined) return { kind: 'file', file: locate(jwks_file) };
  if (jwks_url !== undefined) return { kind: 'url', url: jwks_url };
  return { kind: 'discovery', url: `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration` };
}
