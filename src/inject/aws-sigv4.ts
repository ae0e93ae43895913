import { z } from 'zod';
import { Refusal } from '../errors.ts';
import { define } from '../registry.ts';
import type { AwsKeys, Secret } from '../secret.ts';
import type { BodyStage, OutboundHead, Placed, Placement } from '../types.ts';
import { limitOf, maxBody } from './body.ts';
import type { SigningPlacement, StubIds } from './signing.ts';
import { accessKeyIds, authorizationOf, sessionTokens, timeText } from './sigv4/authorization.ts';
import { chunked } from './sigv4/chunked.ts';
import { hashed } from './sigv4/hashed.ts';
import { MultiRegionSigner } from './sigv4/multi-region.ts';
import { sign } from './sigv4/sign.ts';
import { requireKnownAction } from './sigv4/sts.ts';
import { type Scope, Signer } from './sigv4/signer.ts';
import { payloadOf, verify } from './sigv4/verify.ts';

/** A signature by AWS Signature Version 4 (AWS General Reference; of S3: its API, "Authenticating Requests"). */
class AwsSigV4 implements SigningPlacement {
  readonly type = 'aws-sigv4';
  readonly slot = 'header authorization';
  readonly limit: number;
  readonly #regions: readonly string[];
  readonly #services: readonly string[];

  constructor(regions: readonly string[], services: readonly string[], limit: number) {
    this.#regions = regions;
    this.#services = services;
    this.limit = limit;
  }

  get example(): Omit<Scope, 'time'> {
    const service = this.#services[0] as string;
    const region = this.#regions.find(one => !one.endsWith('*'));
    return region === undefined ? { region: '', regionSet: this.#regions, service } : { region, service };
  }

  find(out: OutboundHead): readonly string[] {
    return accessKeyIds(out);
  }

  idOf(stub: string, ids: StubIds): string {
    return ids.accessKeyId(stub);
  }

  beside(out: OutboundHead, stub: string, ids: StubIds): number {
    return sessionTokens(out).filter(token => token === ids.sessionToken(stub)).length;
  }

  verify(out: OutboundHead, stub: string, ids: StubIds): boolean {
    const client = authorizationOf(out);
    requireOwnToken(sessionTokens(out), ids.sessionToken(stub));
    this.#requireScope(client);
    const isSts = client.service === 'sts';
    if (isSts && out.source.length !== 0 && !out.body) return false;
    const keys = { id: ids.accessKeyId(stub), secretKey: stub };
    const isVerified = verify(out, client, keys, Date.now());
    if (isSts) requireKnownAction(out);
    return isVerified;
  }

  #requireScope({ region, regionSet = [region], service }: Scope): void {
    const [regions, services] = [this.#regions, this.#services];
    if (regionSet.every(one => regions.includes(one)) && services.includes(service)) return;
    throw new Refusal('rule_denies', {
      message: `This rule signs for ${services.join(', ')} in ${regions.join(', ')}, not for ${service} in ${regionSet.join(', ')}`,
      hint: 'Set AWS_REGION, or ask your operator',
    });
  }

  /** Signs the request anew, as it goes out and with the time of the gate. */
  inject(out: OutboundHead, stub: string | undefined, secret: Secret): Placed {
    const keys = keysOf(secret);
    const client = authorizationOf(out);
    const { coverage, text: payload } = payloadOf(out, client);
    if (stub === undefined || payload === undefined) throw new Error('what is signed was not verified');
    const scope = { ...client, time: timeText(Date.now()) };
    const signer = signerOf(keys, scope);
    const wire = sign(out, client, { keys, signer, scope, payload });
    const at = client.at === 'header' ? this.slot : 'query X-Amz-Signature';
    if (coverage === 'hash') return { at, wire, upload: hashed(payload) };
    const isChunked = coverage === 'chunks' || coverage === 'trailer';
    if (!isChunked || !(signer instanceof Signer)) return { at, wire };
    const of = new Signer(stub, client, client.signature);
    const hasTrailer = coverage === 'trailer';
    const upload: BodyStage = chunked({ client: of, gate: signer, hasTrailer, limit: this.limit });
    return { at, wire, upload };
  }
}

function signerOf({ id, secretKey }: AwsKeys, scope: Scope): Signer | MultiRegionSigner {
  if (!scope.regionSet) return new Signer(secretKey.reveal(), scope);
  return new MultiRegionSigner(id.reveal(), secretKey.reveal(), scope);
}

/** None, or the session's own, which goes no further. */
function requireOwnToken(tokens: readonly string[], own: string): void {
  const [token = own] = tokens;
  if (tokens.length < 2 && token === own) return;
  throw new Refusal('foreign_credential', {
    message: 'The request has a session token that is not the session’s stub',
    hint: 'Set AWS_SESSION_TOKEN as the environment of the session has it, or unset it',
  });
}

function keysOf(secret: Secret): AwsKeys {
  if (secret.awsKeys) return secret.awsKeys;
  throw new Refusal('credential_unavailable', {
    cause: new Error(
      `credential "${secret.name}" holds no AWS keys: store {"AccessKeyId":"…","SecretAccessKey":"…"}, with "SessionToken" if there is one`,
    ),
  });
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9-]{0,63}$/;
/** Also a member of a region set. */
const REGION = /^(?:\*|[A-Za-z0-9][A-Za-z0-9-]{0,63}\*?)$/;
const scope = (what: string, example: string, form = NAME) =>
  z
    .array(z.string().regex(form, `must be ${what} as it stands in a signature, such as ${example}`), {
      error: `must be a list, such as [${example}]`,
    })
    .min(1, `is empty; write a list such as [${example}]`);

export const awsSigV4 = define({
  type: 'aws-sigv4',
  summary: 'AWS Signature Version 4: the client signs with its stub, the gate verifies that and signs anew',
  schema: z
    .strictObject({
      regions: scope('a region', 'eu-west-1', REGION).describe(
        'Regions that are signed for, such as [eu-west-1]; of SigV4A also a member of the region set as the client writes it, such as "*".',
      ),
      services: scope('a service', 's3').describe('Services that are signed for, such as [s3, sts].'),
      max_body: maxBody(),
    })
    .superRefine((entry: Readonly<Record<string, unknown>>, context) => {
      if (entry['when'] === undefined || entry['when'] === 'stub') return;
      const message = 'can only be stub where the client itself must sign; leave it out';
      context.addIssue({ code: 'custom', path: ['when'], message });
    }),
  build: ({ regions, services, max_body }): Placement => new AwsSigV4(regions, services, limitOf(max_body)),
});
