import type {
  GetSecretValueCommandInput,
  GetSecretValueCommandOutput,
  SecretsManagerClient,
} from '@aws-sdk/client-secrets-manager';
import { z } from 'zod';
import {
  AWS_CLIENT,
  AWS_REGION,
  AWS_VARIABLES,
  awsIdentity,
  awsRegion,
  bounded,
  codeIn,
  EXTERNAL_ID,
  isUnknownCaller,
  nameOf,
  passingFault,
  ROLE_ARN,
  statusOf,
} from '../aws.ts';
import { define } from '../registry.ts';
import type { Secret } from '../secret.ts';
import { type SecretRef, type Vault, VaultError } from '../types.ts';
import { within } from './at-most.ts';
import { named, toSecret } from './field.ts';
import { serverAddress } from './source.ts';

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

const ADVICE = 'check "region", "endpoint" and the network';

const schema = z
  .strictObject({
    region: z
      .string()
      .regex(AWS_REGION, 'is not a region; write one such as eu-west-1')
      .optional()
      .describe('Region of the secrets, such as eu-west-1 (default: $AWS_REGION).'),
    endpoint: serverAddress()
      .optional()
      .describe(
        '`https://host:port` instead of AWS’s own, such as a VPC endpoint; plain http only on loopback.',
      ),
    sts_endpoint: serverAddress().optional().describe('The same for STS, which gives roles.'),
    profile: z
      .string()
      .regex(/^[\w.@/+=:,-]{1,128}$/, 'is not the name of a profile; write one of ~/.aws/config')
      .optional()
      .describe('Profile of the gate’s own ~/.aws/config and credentials.'),
    role_arn: z
      .string()
      .regex(ROLE_ARN, 'is not the ARN of a role; write one such as arn:aws:iam::123456789012:role/name')
      .optional()
      .describe('Role to read with; the gate’s own identity assumes it.'),
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
  .refine(({ role_arn, external_id }) => external_id === undefined || role_arn !== undefined, {
    path: ['external_id'],
    message: 'is for a role; write role_arn too, or leave it out',
  });
type Options = z.output<typeof schema>;

/** AWS Secrets Manager; the id is a secret's name or ARN, the version an id (a UUID) or a stage such as AWSPREVIOUS. */
class AwsSecretsManager implements Vault {
  readonly variables = AWS_VARIABLES;
  readonly #options: Options;
  #client: Promise<SecretsManagerClient> | undefined;

  constructor(options: Options) {
    this.#options = options;
  }

  async read(ref: SecretRef, signal: AbortSignal): Promise<Secret> {
    try {
      const input = this.#inputOf(ref);
      // The SDK waits between two tries, and for identities, whatever the signal says.
      const answer = await within(signal, this.#ask(input, signal), ADVICE);
      return secretOf(ref, answer);
    } catch (thrown) {
      const { kind, message } = this.#fault(thrown);
      // A new one: the SDK hangs what it knows on the errors that pass it.
      throw named(ref, new VaultError(kind, message));
    }
  }

  #inputOf({ id, version }: SecretRef): GetSecretValueCommandInput {
    const [, place] = /^arn:[^:]*:secretsmanager:([^:]*):/.exec(id) ?? [];
    const region = awsRegion(this.#options.region);
    if (place !== undefined && place !== region)
      throw new VaultError(
        'missing',
        `is in ${place}, but its vault in ${region}; give ${place} a vault of its own`,
      );
    if (version === undefined) return { SecretId: id };
    return { SecretId: id, [UUID.test(version) ? 'VersionId' : 'VersionStage']: version };
  }

  /** Keys that AWS no longer knows are looked for anew, once: they may have been rotated. */
  async #ask(input: GetSecretValueCommandInput, signal: AbortSignal): Promise<GetSecretValueCommandOutput> {
    const isUsed = this.#client !== undefined;
    const opened = (this.#client ??= this.#open());
    let client: SecretsManagerClient | undefined;
    try {
      client = await opened;
      return await send(client, input, signal);
    } catch (thrown) {
      const isOf = client === undefined || isUnknownCaller(thrown) || thrown instanceof VaultError;
      if (isOf && this.#client === opened) this.#client = undefined;
      if (!isUsed || !isUnknownCaller(thrown)) throw thrown;
    }
    return send(await (this.#client ??= this.#open()), input, signal);
  }

  /** Loaded at the first read only: the SDK takes longer to load than the gate. */
  async #open(): Promise<SecretsManagerClient> {
    const { endpoint, sts_endpoint, profile, role_arn, external_id } = this.#options;
    const region = awsRegion(this.#options.region);
    if (region === undefined) throw new VaultError('unavailable', 'there is no region; set AWS_REGION');
    const { SecretsManagerClient: Client } = await import('@aws-sdk/client-secrets-manager');
    const client = new Client({
      ...AWS_CLIENT,
      region,
      ...(endpoint !== undefined && { endpoint }),
      credentials: await awsIdentity({
        region,
        profile,
        stsEndpoint: sts_endpoint,
        roleArn: role_arn,
        externalId: external_id,
      }),
    });
    client.middlewareStack.add(
      next => async args => {
        const answered = await next(args);
        const { response } = answered as { response: { body?: unknown } };
        response.body = await bounded(response.body);
        return answered;
      },
      { step: 'deserialize', priority: 'low', name: 'bounded' },
    );
    return client;
  }

  #fault(thrown: unknown): VaultError {
    if (thrown instanceof VaultError) return thrown;
    const passing = passingFault(thrown);
    if (passing) return passing;
    const final = (message: string) => new VaultError('missing', message);
    const region = awsRegion(this.#options.region);
    switch (nameOf(thrown)) {
      case 'ResourceNotFound':
        return final(`there is no such secret, or no such version, in ${region}; check both, and the region`);
      case 'AccessDenied':
        return isAboutKms(thrown)
          ? final('KMS denies it; allow kms:Decrypt on the key of the secret')
          : final('AWS denies it; allow secretsmanager:GetSecretValue on the secret');
      case 'DecryptionFailure':
        return final('KMS cannot decrypt it; check that its key is enabled, and allow kms:Decrypt on it');
      case 'InvalidRequest':
        return final('it is marked for deletion, or has no value yet; restore it, or store one');
      case 'InvalidParameter':
      case 'Validation':
        return final('that is not a name, an ARN or a version of a secret; check its spelling');
    }
    if (isUnknownCaller(thrown))
      return new VaultError(
        'unavailable',
        `AWS does not know the gate’s keys${codeIn(thrown)}; renew them, and check the clock and the region`,
      );
    // A policy of an endpoint, or something on the way, which has no words for it.
    if (statusOf(thrown) === 403)
      return final(
        'AWS denies it (403); allow secretsmanager:GetSecretValue on the secret, and check the gate’s keys',
      );
    return new VaultError('unavailable', `AWS refused it${codeIn(thrown)}; check "region" and "endpoint"`);
  }
}

async function send(
  client: SecretsManagerClient,
  input: GetSecretValueCommandInput,
  abortSignal: AbortSignal,
): Promise<GetSecretValueCommandOutput> {
  const { GetSecretValueCommand } = await import('@aws-sdk/client-secrets-manager');
  return client.send(new GetSecretValueCommand(input), { abortSignal });
}

/** The service has one error for both; its text is looked at, never told. */
function isAboutKms(thrown: unknown): boolean {
  return /\bKMS\b|\bkms:/.test((thrown as Error).message);
}

/** Bytes (SecretBinary) are a secret if they are UTF-8 text. */
function secretOf(
  ref: SecretRef,
  { SecretString, SecretBinary, VersionId }: GetSecretValueCommandOutput,
): Secret {
  const held: unknown = SecretString ?? SecretBinary;
  if (typeof held !== 'string' && !(held instanceof Uint8Array))
    throw new VaultError('missing', 'the secret holds no value; store one');
  const isPlain = typeof VersionId === 'string' && UUID.test(VersionId);
  return toSecret(ref, held, isPlain ? VersionId : undefined);
}

export const awsSecretsManager = define({
  type: 'aws-secrets-manager',
  summary: 'AWS Secrets Manager; the id is a secret’s name or ARN',
  schema,
  build: (options): Vault => new AwsSecretsManager(options),
});
