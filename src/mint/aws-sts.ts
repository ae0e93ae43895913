import type { AssumeRoleCommandInput, Credentials, STSClient } from '@aws-sdk/client-sts';
import { z } from 'zod';
import {
  AWS_CLIENT,
  AWS_REGION,
  AWS_VARIABLES,
  type AwsIdentity,
  awsIdentity,
  awsRegion,
  codeIn,
  EXTERNAL_ID,
  nameOf,
  passingFault,
  ROLE_ARN,
} from '../aws.ts';
import { define } from '../registry.ts';
import type { Secret } from '../secret.ts';
import { type Principal, VaultError } from '../types.ts';
import { keysIn, tokenIn } from './aws-keys.ts';
import { endpoint } from './fields.ts';
import type { Material, Minter, Token } from './minter.ts';
import { SESSION_NAME, sessionName, TAG, tagsOf, templateFault } from './principal-text.ts';

/** What STS allows, s. */
const DURATION = { least: 15 * 60, most: 12 * 3600 };
/** Where AWS's own STS is. */
export const stsUrl = (region: string): string => `https://sts.${region}.amazonaws.com/`;
const UNIT_S: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };
const schema = z
  .strictObject({
    role_arn: z
      .string()
      .regex(ROLE_ARN, 'is not the ARN of a role; write one such as arn:aws:iam::123456789012:role/name')
      .describe('Role that is assumed.'),
    region: z
      .string()
      .regex(AWS_REGION, 'is not a region; write one such as eu-west-1')
      .optional()
      .describe('Region whose STS is asked (default: $AWS_REGION).'),
    endpoint: endpoint().optional().describe('Instead of AWS’s own, such as a VPC endpoint.'),
    web_identity: z
      .boolean()
      .default(false)
      .describe('`from` is a web identity token (OIDC), not a pair of keys.'),
    duration: z
      .string()
      .refine(
        text => seconds(text) !== undefined,
        'is not a time from 15m to 12h; write one such as 1h (a role that is assumed with another role: at most 1h)',
      )
      .default('1h')
      .describe('Lifetime of the keys, 15m to 12h (default 1h); the role’s own limit holds too.'),
    session_name: z
      .string()
      .refine(
        text => templateFault(text, SESSION_NAME) === undefined,
        'is not valid; write 2 to 64 letters, digits and _ + = , . @ -, and {label.NAME}, {sub} or {act} of the session',
      )
      .default('stubgate')
      .describe(
        'RoleSessionName, which CloudTrail shows; `{label.NAME}`, `{sub}` and `{act}` stand for the session’s own, which then gets keys of its own (default stubgate).',
      ),
    tags: z
      .record(
        z
          .string()
          .regex(
            /^(?!aws:)[\p{L}\p{Z}\p{N}_.:/=+@-]{1,128}$/iu,
            'is not the key of a tag; write at most 128 letters, digits and _ . : / = + - @',
          ),
        z
          .string()
          .refine(
            text => templateFault(text, TAG) === undefined,
            'is not valid; write at most 256 letters, digits, spaces and _ . : / = + - @, and {label.NAME}, {sub} or {act} of the session',
          ),
      )
      .refine(tags => Object.keys(tags).length <= 50, 'holds more than 50 tags; STS takes no more')
      .optional()
      .describe('Session tags; the values may hold `{label.NAME}`, `{sub}` and `{act}`.'),
    policy: z
      .union([z.string(), z.record(z.string(), z.unknown())])
      .refine(
        policy => typeof policy !== 'string' || isJsonObject(policy),
        'is not a policy; write it as a mapping, or as JSON in a text',
      )
      .optional()
      .describe('Session policy, a mapping or JSON: the keys can do no more than it allows.'),
    policy_arns: z
      .array(
        z
          .string()
          .regex(
            /^arn:aws[a-z-]*:iam::(\d{12}|aws):policy\/[\x21-\x7e]{1,512}$/,
            'is not the ARN of a policy; write one such as arn:aws:iam::aws:policy/ReadOnlyAccess',
          ),
      )
      .min(1, 'is empty; leave it out')
      .max(10, 'holds more than 10 policies; STS takes no more')
      .optional()
      .describe('Managed policies that limit the keys likewise.'),
    external_id: z
      .string()
      .regex(EXTERNAL_ID, 'is not an external id; write letters, digits and + = , . @ : / - _')
      .optional()
      .describe('What the role’s trust policy asks for as sts:ExternalId.'),
  })
  .refine(({ region }) => awsRegion(region) !== undefined, {
    path: ['region'],
    message: 'is missing; write one such as eu-west-1, or set AWS_REGION where the gate starts',
  })
  .refine(({ web_identity, tags }) => !web_identity || tags === undefined, {
    path: ['tags'],
    message: 'is not for web_identity, whose token holds the tags; leave it out',
  })
  .refine(({ web_identity, external_id }) => !web_identity || external_id === undefined, {
    path: ['external_id'],
    message: 'is not for web_identity; leave it out',
  });
type Options = z.output<typeof schema>;

/** What of a request depends on the session. */
interface Named {
  readonly session: string;
  readonly tags: readonly (readonly [key: string, value: string])[];
}

/** Temporary keys of a role (STS AssumeRole, AssumeRoleWithWebIdentity). */
class AwsSts implements Minter {
  readonly rotates = false;
  readonly variables = AWS_VARIABLES;
  readonly #options: Options;
  /** Kept as long as it serves: each session would ask for it anew otherwise. */
  #own: Promise<AwsIdentity> | undefined;

  constructor(options: Options) {
    this.#options = options;
  }

  scope(who: Principal): string {
    const { session_name, tags = {} } = this.#options;
    const isFixed = ![session_name, ...Object.values(tags)].some(text => text.includes('{'));
    return isFixed ? '' : JSON.stringify(this.#named(who));
  }

  async mint(scope: string, material: Material): Promise<Token> {
    const { session_name, tags = {} } = this.#options;
    const named: Named =
      scope === '' ? { session: session_name, tags: Object.entries(tags) } : (JSON.parse(scope) as Named);
    const region = awsRegion(this.#options.region);
    if (region === undefined) throw new VaultError('unavailable', 'there is no region; set AWS_REGION');
    const url = new URL(this.#options.endpoint ?? stsUrl(region));
    const credentials = await this.#identity(material.from, region);
    const { STSClient: Client } = await import('@aws-sdk/client-sts');
    const client = new Client({
      ...AWS_CLIENT,
      region,
      ...(this.#options.endpoint !== undefined && { endpoint: this.#options.endpoint }),
      ...(credentials && { credentials }),
      requestHandler: handlerOf(material),
    });
    try {
      return tokenIn(url, await this.#assume(client, named, material.from), material.now);
    } catch (thrown) {
      this.#own = undefined;
      throw faultOf(url, thrown);
    }
  }

  #named(who: Principal): Named {
    const { session_name, tags = {} } = this.#options;
    return { session: sessionName(session_name, who), tags: tagsOf(tags, who) };
  }

  /** Who asks; undefined where a token says it. */
  async #identity(from: Secret, region: string): Promise<AwsIdentity | undefined> {
    if (this.#options.web_identity) return undefined;
    if (from.length > 0) {
      const keys = keysIn(from);
      return async () => keys;
    }
    return (this.#own ??= awsIdentity({ region, stsEndpoint: this.#options.endpoint }));
  }

  async #assume(client: STSClient, named: Named, from: Secret): Promise<Credentials | undefined> {
    const { AssumeRoleCommand, AssumeRoleWithWebIdentityCommand } = await import('@aws-sdk/client-sts');
    const { role_arn, duration, policy, policy_arns, external_id, web_identity } = this.#options;
    const input = {
      RoleArn: role_arn,
      RoleSessionName: named.session,
      DurationSeconds: seconds(duration) as number,
      ...(policy !== undefined && { Policy: typeof policy === 'string' ? policy : JSON.stringify(policy) }),
      ...(policy_arns && { PolicyArns: policy_arns.map(arn => ({ arn })) }),
    } satisfies AssumeRoleCommandInput;
    if (web_identity) {
      const token = from.reveal().trim();
      const answer = await client.send(
        new AssumeRoleWithWebIdentityCommand({ ...input, WebIdentityToken: token }),
      );
      return answer.Credentials;
    }
    const tags = named.tags.map(([Key, Value]) => ({ Key, Value }));
    const answer = await client.send(
      new AssumeRoleCommand({
        ...input,
        ...(tags.length > 0 && { Tags: tags }),
        ...(external_id !== undefined && { ExternalId: external_id }),
      }),
    );
    return answer.Credentials;
  }
}

interface SdkRequest {
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number | undefined;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/** The SDK signs and reads; what it sends goes by the gate's own rules for upstreams, like every other mint. */
function handlerOf({ send }: Material) {
  return {
    handle: async ({ protocol, hostname, port, path, headers, body }: SdkRequest) => {
      const url = new URL(`${protocol}//${hostname}${port === undefined ? '' : `:${port}`}${path}`);
      // STS answers in JSON to who accepts it, which the SDK does not read.
      const { status, text } = await send(url, { ...headers, accept: '*/*' }, String(body));
      return { response: { statusCode: status, headers: {}, body: Buffer.from(text) } };
    },
  };
}

const ADVICE: Readonly<Record<string, string>> = {
  AccessDenied:
    'let the trust policy of "role_arn" name who asks (and "external_id"), and allow that one sts:AssumeRole, with tags sts:TagSession',
  ValidationError:
    'check "duration", which the role’s own limit holds for too (1h for a role by a role), and "tags"',
  MalformedPolicyDocument: 'check "policy"',
  PackedPolicyTooLarge: 'shorten "policy", "policy_arns" and "tags"',
  RegionDisabled: 'activate STS in that region, or write another one',
  InvalidIdentityToken: 'check that IAM knows the issuer and the audience of the token',
  IDPRejectedClaim: 'check that the token has not been revoked',
};

/** `missing` where what is asked with is refused: the vault may have another by now. */
function faultOf(url: URL, thrown: unknown): VaultError {
  if (thrown instanceof VaultError) return new VaultError(thrown.kind, thrown.message);
  const passing = passingFault(thrown);
  if (passing) return new VaultError('unavailable', `${url.href}: ${passing.message}`);
  const name = nameOf(thrown);
  const known = Object.hasOwn(ADVICE, name) ? ADVICE[name] : undefined;
  const advice = known ?? 'check that the keys or the token are still good, and the clock';
  return new VaultError('missing', `${url.href} refused it${codeIn(thrown)}; ${advice}`);
}

function seconds(text: string): number | undefined {
  const [, count, unit = ''] = /^([1-9]\d{0,5})([smh])$/.exec(text) ?? [];
  const total = Number(count) * (UNIT_S[unit] ?? Number.NaN);
  return total >= DURATION.least && total <= DURATION.most ? total : undefined;
}

function isJsonObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

export const awsSts = define({
  type: 'aws-sts',
  summary:
    'Temporary AWS keys of a role; `from` is a pair of keys in JSON, or nothing for the gate’s own identity',
  schema,
  build: (options): Minter => new AwsSts(options),
});
