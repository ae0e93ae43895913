import { createPublicKey, generateKeyPairSync, type KeyObject, verify } from 'node:crypto';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { canary } from '../canary.ts';
import { testCa } from '../pki.ts';
import { type HttpOptions, type HttpUpstream, startHttp, type Upstream } from '../upstream.ts';
import { answer } from './vault.ts';

const ROBOT = 'robot@my-project.iam.gserviceaccount.com';
const SCOPE = 'https://www.googleapis.com/auth/cloud-platform';

/** Bytes of protobuf: a field of wire type 2 (protobuf.dev/programming-guides/encoding). */
function field(number: number, content: Buffer | string): Buffer {
  const bytes = Buffer.from(content as string);
  const size = bytes.length < 128 ? [bytes.length] : [(bytes.length & 0x7f) | 0x80, bytes.length >> 7];
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...size]), bytes]);
}

const any = (type: string, message: Buffer): Buffer =>
  field(3, Buffer.concat([field(1, `type.googleapis.com/google.rpc.${type}`), field(2, message)]));

/** google.rpc.Status with details, as it goes in `grpc-status-details-bin`. */
export function details(options: { retrySeconds?: number; reason?: string }): grpc.Metadata {
  const { retrySeconds, reason } = options;
  const metadata = new grpc.Metadata();
  const parts: Buffer[] = [];
  if (retrySeconds !== undefined) parts.push(any('RetryInfo', field(1, Buffer.from([0x08, retrySeconds]))));
  if (reason !== undefined)
    parts.push(any('ErrorInfo', Buffer.concat([field(1, reason), field(2, 'googleapis.com')])));
  metadata.set('grpc-status-details-bin', Buffer.concat([Buffer.from([0x08, 7]), ...parts]));
  return metadata;
}

export interface StoredVersion {
  readonly data: string | Buffer;
  readonly state?: 'DISABLED' | 'DESTROYED';
}

export interface SecretManagerSetup {
  /** `projects/P/secrets/S` → versions, the first is 1. */
  secrets: Record<string, StoredVersion[]>;
  /** Plain HTTP/2, without TLS. */
  plain?: boolean;
}

interface AccessAnswer {
  readonly name: string;
  readonly payload?: { readonly data: Buffer; readonly data_crc32c?: string };
}
type Callback = (error: Partial<grpc.StatusObject> | null, value?: AccessAnswer) => void;

export interface SecretManager extends Upstream, SecretManagerSetup {
  readonly url: string;
  /** Bearer tokens that are taken. */
  readonly tokens: Set<string>;
  /** Public key of the service account. */
  robot: KeyObject | undefined;
  /** Names that were asked for. */
  readonly asked: string[];
  /** Host names and fields of the calls. */
  readonly calls: grpc.Metadata[];
  /** Answers by itself, if it returns true. */
  fault: ((name: string, callback: Callback) => boolean) | undefined;
}

/** google.cloud.secretmanager.v1.SecretManagerService, from the proto that the SDK ships. */
export async function startSecretManager(setup: SecretManagerSetup): Promise<SecretManager> {
  const server = new grpc.Server();
  const manager: Omit<SecretManager, keyof Upstream | 'url'> & SecretManagerSetup = {
    ...setup,
    tokens: new Set(),
    robot: undefined,
    asked: [],
    calls: [],
    fault: undefined,
  };
  server.addService(service(), {
    AccessSecretVersion: (
      { request, metadata }: { request: { name: string }; metadata: grpc.Metadata },
      callback: Callback,
    ) => {
      started.asked.push(request.name);
      started.calls.push(metadata);
      if (started.fault?.(request.name, callback)) return;
      access(started, request.name, metadata, callback);
    },
  });
  const { key, cert } = await (await testCa()).issue(['localhost']);
  const credentials = setup.plain
    ? grpc.ServerCredentials.createInsecure()
    : grpc.ServerCredentials.createSsl(null, [
        { private_key: Buffer.from(key), cert_chain: Buffer.from(cert) },
      ]);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  const address = `127.0.0.1:${port}`;
  const started: SecretManager = Object.assign(manager, {
    port,
    address,
    url: setup.plain ? `http://${address}` : `https://localhost:${port}`,
    close: async () => server.forceShutdown(),
  });
  return started;
}

function service(): grpc.ServiceDefinition {
  const require = createRequire(import.meta.url);
  const own = join(require.resolve('@google-cloud/secret-manager'), '../../protos');
  const common = join(require.resolve('google-gax'), '../../protos');
  const definition = loadSync('google/cloud/secretmanager/v1/service.proto', {
    includeDirs: [own, common],
    keepCase: true,
    longs: String,
  });
  return definition['google.cloud.secretmanager.v1.SecretManagerService'] as grpc.ServiceDefinition;
}

function access(manager: SecretManager, name: string, metadata: grpc.Metadata, callback: Callback): void {
  const refuse = (code: grpc.status, message: string): void =>
    callback({ code, details: `${message} sesame ${String(metadata.get('authorization')[0])}` });
  const [authorization = ''] = metadata.get('authorization');
  const token = /^Bearer (\S+)$/.exec(String(authorization))?.[1] ?? '';
  if (!manager.tokens.has(token) && !isOfRobot(manager.robot, token))
    return refuse(grpc.status.UNAUTHENTICATED, 'Request had invalid authentication credentials.');
  if (metadata.get('x-goog-request-params')[0] !== `name=${encodeURIComponent(name)}`)
    return refuse(grpc.status.INVALID_ARGUMENT, 'no routing header');
  const [, secret = '', wanted = ''] = /^(.+)\/versions\/([^/]+)$/.exec(name) ?? [];
  const versions = manager.secrets[secret];
  if (!versions) return refuse(grpc.status.NOT_FOUND, `Secret [${secret}] not found or has no versions.`);
  const number = wanted === 'latest' ? versions.length : Number(wanted);
  const version = versions[number - 1];
  if (!version) return refuse(grpc.status.NOT_FOUND, `Secret Version [${name}] not found.`);
  if (version.state !== undefined)
    return refuse(grpc.status.FAILED_PRECONDITION, `Secret Version [${name}] is in ${version.state} state.`);
  const data = Buffer.from(version.data as string);
  callback(null, {
    name: `${secret}/versions/${number}`,
    payload: { data, data_crc32c: String(castagnoli(data)) },
  });
}

/** Bit by bit, unlike ours. */
export function castagnoli(bytes: Buffer): number {
  let crc = 0xffffffffn;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let i = 0; i < 8; i++) crc = crc & 1n ? (crc >> 1n) ^ 0x82f63b78n : crc >> 1n;
  }
  return Number(crc ^ 0xffffffffn);
}

/** A JWT that the service account signed for this service (google.aip.dev/auth/4111). */
function isOfRobot(key: KeyObject | undefined, jwt: string): boolean {
  const [header = '', claims = '', signature = ''] = jwt.split('.');
  if (!key || !verify('sha256', Buffer.from(`${header}.${claims}`), key, Buffer.from(signature, 'base64url')))
    return false;
  const { iss, sub, aud, iat, exp } = JSON.parse(Buffer.from(claims, 'base64url').toString()) as Record<
    string,
    unknown
  >;
  const now = Date.now() / 1000;
  return (
    iss === ROBOT &&
    sub === ROBOT &&
    aud === 'https://secretmanager.googleapis.com/' &&
    Number(iat) <= now + 1 &&
    Number(exp) > now &&
    Number(exp) - Number(iat) <= 3600
  );
}

/** A service account's key file and the public half. */
export function serviceAccount(): { json: string; pem: string; email: string; publicKey: KeyObject } {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
  const json = JSON.stringify({
    type: 'service_account',
    project_id: 'my-project',
    private_key_id: 'key-1',
    private_key: pem,
    client_email: ROBOT,
    client_id: '4711',
    token_uri: 'https://oauth2.googleapis.com/token',
  });
  return { json, pem, email: ROBOT, publicKey: createPublicKey(privateKey) };
}

export interface GceMetadata extends HttpUpstream {
  /** Seconds that a token lives. */
  life: number;
  readonly issued: string[];
}

/** The metadata server of a machine on Google Cloud; `onToken` is told of each access token. */
export async function startGce(onToken: (token: string) => void = () => {}): Promise<GceMetadata> {
  const issued: string[] = [];
  const upstream = await startHttp({}, ({ method, url, headers }, response) => {
    response.setHeader('metadata-flavor', 'Google');
    const { pathname, searchParams } = new URL(url, 'http://metadata');
    const wanted = /^\/computeMetadata\/v1\/instance\/service-accounts\/default\/(token|identity)$/.exec(
      pathname,
    )?.[1];
    if (method !== 'GET' || headers['metadata-flavor'] !== 'Google' || headers['x-forwarded-for'])
      return answer(response, 403, {});
    if (wanted === 'token') {
      const token = canary('ya29.');
      issued.push(token);
      onToken(token);
      return answer(response, 200, { access_token: token, expires_in: gce.life, token_type: 'Bearer' });
    }
    const aud = searchParams.get('audience');
    if (wanted !== 'identity' || !aud || searchParams.get('format') !== 'full')
      return answer(response, 404, {});
    const exp = Math.floor(Date.now() / 1000) + gce.life;
    const token = idToken({ aud, exp, iss: 'https://accounts.google.com', email: ROBOT });
    issued.push(token);
    response.setHeader('content-type', 'text/html');
    response.end(token);
  });
  const gce: GceMetadata = Object.assign(upstream, { life: 3600, issued });
  return gce;
}

/** A JWT whose signature nobody looks at. */
export function idToken(claims: Readonly<Record<string, unknown>>): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'RS256', typ: 'JWT' })}.${part(claims)}.${canary('')}`;
}

/** Google's token service for federated identities (RFC 8693). */
export function startSts(subjectToken: string, onToken: (token: string) => void): Promise<HttpUpstream> {
  const options: HttpOptions = { hosts: ['127.0.0.1'] };
  return startHttp(options, ({ method, url, body }, response) => {
    const form = Object.fromEntries(new URLSearchParams(body.toString()));
    const isRight =
      method === 'POST' &&
      url === '/v1/token' &&
      form['grant_type'] === 'urn:ietf:params:oauth:grant-type:token-exchange' &&
      form['audience'] ===
        '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x' &&
      form['subject_token_type'] === 'urn:ietf:params:oauth:token-type:jwt' &&
      form['subject_token'] === subjectToken &&
      form['scope'] === SCOPE;
    if (!isRight)
      return answer(response, 400, { error: 'invalid_grant', error_description: `no: ${body.toString()}` });
    const token = canary('ya29.');
    onToken(token);
    answer(response, 200, {
      access_token: token,
      issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      token_type: 'Bearer',
      expires_in: 3600,
    });
  });
}
