import { createHash, randomBytes, randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { Sha256 } from '@aws-crypto/sha256-js';
import { SignatureV4 } from '@smithy/signature-v4';
import { canary } from '../canary.ts';
import { type HttpUpstream, type Received, startHttp } from '../upstream.ts';

export const REGION = 'eu-west-1';
export const ACCOUNT = '123456789012';

export interface AwsKeys {
  readonly AccessKeyId: string;
  readonly SecretAccessKey: string;
  readonly SessionToken?: string;
}

export interface SecretVersion {
  readonly id: string;
  stages: string[];
  readonly value: string | Buffer;
}

/** What a role asks of who assumes it. */
export interface Role {
  readonly externalId?: string;
  readonly webIdentity?: string;
}

export interface Assumed {
  readonly action: string;
  /** Every parameter of the request. */
  readonly asked: Readonly<Record<string, string>>;
  readonly by: string | undefined;
  readonly keys: AwsKeys;
}

/** Answers in the place of the server; true: it did. */
export type AwsFault = (request: Received, response: ServerResponse) => boolean;

export interface AwsServer extends HttpUpstream {
  /** Keys that are good, by their id. */
  readonly keys: Map<string, AwsKeys>;
  readonly secrets: Map<string, SecretVersion[]>;
  /** By ARN. */
  readonly roles: Map<string, Role>;
  /** In order. */
  readonly assumed: Assumed[];
  /** Names of secrets that were given. */
  readonly given: string[];
  fault: AwsFault | undefined;
  /** A new current version; the one before becomes AWSPREVIOUS. */
  store(name: string, value: string | Buffer): SecretVersion;
  newKeys(temporary?: boolean): AwsKeys;
}

/** Characters that AWS makes its keys of. */
export function awsKeys(temporary = false): AwsKeys {
  const id = canary('', 16).toUpperCase();
  return {
    AccessKeyId: `${temporary ? 'ASIA' : 'AKIA'}${id}`,
    SecretAccessKey: canary('', 40),
    ...(temporary && { SessionToken: randomBytes(120).toString('base64') }),
  };
}

/**
 * AWS Secrets Manager (JSON 1.1) and STS (Query), as far as a reader sees them. Every request must carry a Signature
 * Version 4 that the reference implementation makes likewise.
 */
export async function startAws(options: { hosts?: readonly string[] } = {}): Promise<AwsServer> {
  const keys = new Map<string, AwsKeys>();
  const http = await startHttp(options, async (request, response) => {
    if (server.fault?.(request, response)) return;
    if (request.headers['x-amz-target'] !== undefined) await secretsManager(server, request, response);
    else await sts(server, request, response);
  });
  const server: AwsServer = {
    ...http,
    keys,
    secrets: new Map(),
    roles: new Map(),
    assumed: [],
    given: [],
    fault: undefined,
    store: (name, value) => {
      const versions = server.secrets.get(name) ?? [];
      for (const version of versions) {
        const was = version.stages.includes('AWSCURRENT');
        version.stages = was ? ['AWSPREVIOUS'] : version.stages.filter(stage => stage !== 'AWSPREVIOUS');
      }
      const next = { id: randomUUID(), stages: ['AWSCURRENT'], value };
      server.secrets.set(name, [...versions, next]);
      return next;
    },
    newKeys: temporary => {
      const made = awsKeys(temporary);
      keys.set(made.AccessKeyId, made);
      return made;
    },
  };
  return server;
}

/** Why a request is not signed by one of these keys, or by whom it is. */
export async function callerOf(
  { method, url, headers, body }: Pick<Received, 'method' | 'url' | 'headers' | 'body'>,
  keys: ReadonlyMap<string, AwsKeys>,
  service: string,
  region = REGION,
): Promise<{ fault: string } | { id: string; signed: readonly string[] }> {
  const { authorization = '' } = headers;
  const [, id = '', day = '', scopeRegion, scopeService, list = ''] =
    /^AWS4-HMAC-SHA256 Credential=(\w+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request, SignedHeaders=([^,]+), Signature=[0-9a-f]{64}$/.exec(
      authorization,
    ) ?? [];
  const known = keys.get(id);
  if (!known) return { fault: 'UnrecognizedClientException' };
  if (scopeRegion !== region || scopeService !== service) return { fault: 'InvalidSignatureException' };
  const date = String(headers['x-amz-date']);
  const at = Date.parse(date.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z'));
  if (!date.startsWith(day) || !(Math.abs(Date.now() - at) < 300_000))
    return { fault: 'InvalidSignatureException' };
  const names = list.split(';');
  if (!names.includes('host') || !names.includes('x-amz-date')) return { fault: 'InvalidSignatureException' };
  if (known.SessionToken !== headers['x-amz-security-token']) return { fault: 'UnrecognizedClientException' };
  if (known.SessionToken !== undefined && !names.includes('x-amz-security-token'))
    return { fault: 'InvalidSignatureException' };
  const hash = headers['x-amz-content-sha256'];
  if (hash !== undefined && hash !== createHash('sha256').update(body).digest('hex'))
    return { fault: 'InvalidSignatureException' };
  const { pathname, searchParams } = new URL(url, 'http://aws');
  const reference = new SignatureV4({
    service,
    region,
    sha256: Sha256,
    applyChecksum: hash !== undefined,
    credentials: {
      accessKeyId: id,
      secretAccessKey: known.SecretAccessKey,
      ...(known.SessionToken !== undefined && { sessionToken: known.SessionToken }),
    },
  });
  const again = await reference.sign(
    {
      method,
      protocol: 'https:',
      hostname: String(headers.host),
      path: pathname,
      query: Object.fromEntries(searchParams),
      headers: Object.fromEntries(names.map(name => [name, String(headers[name])])),
      body,
    },
    { signingDate: new Date(at), signableHeaders: new Set(names) },
  );
  return again.headers['authorization'] === authorization
    ? { id, signed: names }
    : { fault: 'InvalidSignatureException' };
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, {
    'content-type': 'application/x-amz-json-1.1',
    'x-amzn-requestid': randomUUID(),
  });
  response.end(JSON.stringify(body));
}

/** An error as Secrets Manager states it; the text must reach nobody. */
export function refuse(response: ServerResponse, type: string, status = 400, message = 'sesame'): void {
  json(response, status, { __type: type, message, Message: message });
}

async function secretsManager(server: AwsServer, request: Received, response: ServerResponse): Promise<void> {
  const { headers, body } = request;
  const caller = await callerOf(request, server.keys, 'secretsmanager');
  if ('fault' in caller) return refuse(response, caller.fault);
  if (headers['x-amz-target'] !== 'secretsmanager.GetSecretValue')
    return refuse(response, 'UnknownOperationException');
  if (headers['content-type'] !== 'application/x-amz-json-1.1')
    return refuse(response, 'SerializationException');
  const asked = JSON.parse(body.toString()) as Record<
    'SecretId' | 'VersionId' | 'VersionStage',
    string | undefined
  >;
  const name =
    asked.SecretId?.replace(/^arn:aws:secretsmanager:[^:]+:\d{12}:secret:(.+)-[A-Za-z0-9]{6}$/, '$1') ?? '';
  if (name.startsWith('denied')) return refuse(response, 'AccessDeniedException');
  if (name.startsWith('locked'))
    return refuse(response, 'AccessDeniedException', 400, 'Access to KMS is not allowed');
  const stage = asked.VersionStage ?? 'AWSCURRENT';
  const found = server.secrets
    .get(name)
    ?.find(({ id, stages }) =>
      asked.VersionId === undefined ? stages.includes(stage) : id === asked.VersionId,
    );
  if (!found) return refuse(response, 'ResourceNotFoundException');
  server.given.push(name);
  const value =
    typeof found.value === 'string'
      ? { SecretString: found.value }
      : { SecretBinary: found.value.toString('base64') };
  json(response, 200, {
    ARN: `arn:aws:secretsmanager:${REGION}:${ACCOUNT}:secret:${name}-AbCdEf`,
    Name: name,
    VersionId: found.id,
    VersionStages: found.stages,
    CreatedDate: 1_700_000_000.123,
    ...value,
  });
}

function xml(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/xml' });
  response.end(text);
}

/** An error as STS states it. */
export function refuseXml(response: ServerResponse, code: string, status = 403): void {
  const type = status < 500 ? 'Sender' : 'Receiver';
  const error = `<Error><Type>${type}</Type><Code>${code}</Code><Message>sesame</Message></Error>`;
  xml(
    response,
    status,
    `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">${error}<RequestId>r</RequestId></ErrorResponse>`,
  );
}

/** Keys of a role, as STS answers. */
export function assumedXml(action: string, keys: AwsKeys, expiration: string): string {
  const given = Object.entries({ ...keys, Expiration: expiration }).map(
    ([name, value]) => `<${name}>${value}</${name}>`,
  );
  return `<${action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><${action}Result><Credentials>${given.join('')}</Credentials></${action}Result><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></${action}Response>`;
}

async function sts(server: AwsServer, request: Received, response: ServerResponse): Promise<void> {
  if (request.method !== 'POST' || request.url !== '/') return refuseXml(response, 'InvalidAction', 400);
  const asked = Object.fromEntries(new URLSearchParams(request.body.toString()));
  const { Action: action = '', RoleArn: arn = '', DurationSeconds: duration = '3600' } = asked;
  const role = server.roles.get(arn);
  const isWeb = action === 'AssumeRoleWithWebIdentity';
  let by: string | undefined;
  if (isWeb) {
    if (request.headers.authorization !== undefined) return refuseXml(response, 'IncompleteSignature', 400);
    if (asked['WebIdentityToken'] !== role?.webIdentity)
      return refuseXml(response, 'InvalidIdentityToken', 400);
  } else {
    const caller = await callerOf(request, server.keys, 'sts');
    if ('fault' in caller)
      return refuseXml(
        response,
        caller.fault === 'UnrecognizedClientException' ? 'InvalidClientTokenId' : 'SignatureDoesNotMatch',
      );
    by = caller.id;
  }
  if (!/^AssumeRole(WithWebIdentity)?$/.test(action)) return refuseXml(response, 'InvalidAction', 400);
  if (!role || role.externalId !== asked['ExternalId']) return refuseXml(response, 'AccessDenied');
  const isFit = Number(duration) >= 900 && Number(duration) <= 43_200;
  if (!isFit || !/^[\w+=,.@-]{2,64}$/.test(asked['RoleSessionName'] ?? ''))
    return refuseXml(response, 'ValidationError', 400);
  const keys = server.newKeys(true);
  server.assumed.push({ action, asked, by, keys });
  const until = Date.now() + Number(duration) * 1000;
  if (/json/.test(String(request.headers.accept))) {
    const result = { Credentials: { ...keys, Expiration: until / 1000 } };
    return json(response, 200, {
      [`${action}Response`]: { [`${action}Result`]: result, ResponseMetadata: { RequestId: 'r' } },
    });
  }
  const end = new Date(until).toISOString().replace(/\.\d+/, '');
  xml(response, 200, assumedXml(action, keys, end));
}
