import { isIP } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { SecretManagerServiceClient } from '@google-cloud/secret-manager';
import { z } from 'zod';
import { define } from '../../registry.ts';
import type { Secret } from '../../secret.ts';
import { type SecretRef, type Vault, VaultError } from '../../types.ts';
import { within } from '../at-most.ts';
import { named, toSecret } from '../field.ts';
import { pauseBefore, TRIES } from '../exchange.ts';
import { filePath, serverAddress } from '../source.ts';
import { Transport } from '../transport.ts';
import { crc32c } from './crc32c.ts';
import { callFault, isPassing, isRefused, retryAfter } from './fault.ts';
import { AMBIENT, GoogleLogin } from './login.ts';

/** Of one call; a read has more, so that one that hangs is tried again. */
const CALL_MS = 5_000;
const MAX_ANSWER_BYTES = 1_048_576;
const PROJECT = /^[a-z0-9](?:[a-z0-9.:-]{0,61}[a-z0-9])?$/;
const SECRET = /^[A-Za-z0-9_-]{1,255}$/;
const FULL = /^projects\/([^/]+)\/(?:locations\/([^/]+)\/)?secrets\/([^/]+)$/;
const VERSION = /^(?:latest|[1-9]\d{0,9}|[A-Za-z][A-Za-z0-9_-]{0,62})$/;

const schema = z.strictObject({
  project: z
    .string()
    .regex(PROJECT, 'is not a project; write its id or number, such as my-project')
    .optional()
    .describe('Project of refs that name only the secret.'),
  endpoint: serverAddress()
    .refine(
      text =>
        !text.startsWith('https:') || isIP(URL.parse(text)?.hostname.replace(/^\[|\]$/g, '') ?? '') === 0,
      'is an IP address, which gRPC does not take with TLS; write a host name',
    )
    .default('https://secretmanager.googleapis.com')
    .describe('`https://host:port` of another endpoint, such as a regional one.'),
  credentials_file: filePath()
    .optional()
    .describe(
      'JSON file of a service account or of workload identity federation; default: GOOGLE_APPLICATION_CREDENTIALS, gcloud’s own file, else the machine’s service account.',
    ),
  ca_file: filePath().optional().describe('CA certificates to trust besides the system’s.'),
});
type Options = z.output<typeof schema>;

interface Opened {
  readonly pem: string;
  readonly client: Promise<SecretManagerServiceClient>;
}

/** Secrets of Google's Secret Manager, by gRPC as its SDK does; the id is `projects/P/secrets/S`, or `S`. */
class GcpSecretManager implements Vault {
  readonly variables: readonly string[];
  readonly #options: Options;
  readonly #transport: Transport;
  readonly #login: GoogleLogin;
  #opened: Opened | undefined;

  constructor(options: Options) {
    this.#options = options;
    this.#transport = new Transport(options.ca_file);
    this.#login = new GoogleLogin(options.credentials_file, this.#transport);
    this.variables = options.credentials_file === undefined ? AMBIENT : [];
  }

  async read(ref: SecretRef, signal: AbortSignal): Promise<Secret> {
    try {
      const answer = await within(signal, this.#access(this.#nameOf(ref), signal));
      return secretOf(ref, answer);
    } catch (error) {
      throw named(ref, error);
    }
  }

  #nameOf({ id, version = 'latest' }: SecretRef): string {
    const [, project = this.#options.project, location, secret = id] = FULL.exec(id) ?? [];
    if (!SECRET.test(secret))
      throw new VaultError('missing', 'is not a secret; write projects/PROJECT/secrets/NAME');
    if (project === undefined)
      throw new VaultError('missing', 'names no project; write projects/PROJECT/secrets/NAME, or "project"');
    if (!PROJECT.test(project) || (location !== undefined && !/^[a-z0-9-]{1,63}$/.test(location)))
      throw new VaultError('missing', 'names no valid project or location; check it');
    if (!VERSION.test(version))
      throw new VaultError('missing', 'is not a version; write a number, an alias, or leave it out');
    const place = location === undefined ? '' : `/locations/${location}`;
    return `projects/${project}${place}/secrets/${secret}/versions/${version}`;
  }

  /** Tries again what may pass, and once with a new login. */
  async #access(name: string, signal: AbortSignal): Promise<Answer> {
    let isRenewed = false;
    for (let tried = 1; ; tried++) {
      const authorization = await this.#login.authorization(signal);
      try {
        return await this.#call(name, authorization, signal);
      } catch (error) {
        if (error instanceof VaultError) throw error;
        if (signal.aborted) throw new VaultError('unavailable', 'there was no answer in time');
        if (isRefused(error) && !isRenewed) {
          isRenewed = true;
          this.#login.forget();
          continue;
        }
        const pause = isPassing(error) && tried < TRIES ? pauseBefore(tried, retryAfter(error)) : undefined;
        if (typeof pause !== 'number') throw callFault(error);
        await delay(pause, undefined, { signal }).catch(() => {
          throw callFault(error);
        });
      }
    }
  }

  async #call(name: string, authorization: string, signal: AbortSignal): Promise<Answer> {
    const client = await (await this.#open()).client;
    const call = client.accessSecretVersion(
      { name },
      { timeout: CALL_MS, retry: { retryCodes: [] }, signal, otherArgs: { headers: { authorization } } },
    );
    const [answer] = await call;
    return answer;
  }

  /** One channel for as long as the certificates to trust stay. */
  async #open(): Promise<Opened> {
    const pem = await this.#transport.trust.pem();
    if (this.#opened?.pem === pem) return this.#opened;
    const before = this.#opened;
    const opened: Opened = { pem, client: this.#connect(pem) };
    this.#opened = opened;
    // What could not be opened is tried anew.
    opened.client.catch(() => {
      if (this.#opened === opened) this.#opened = undefined;
    });
    void before?.client.then(client => client.close()).catch(() => {});
    return opened;
  }

  async #connect(pem: string): Promise<SecretManagerServiceClient> {
    const { protocol, hostname, port } = new URL(this.#options.endpoint);
    const isTls = protocol === 'https:';
    const [{ SecretManagerServiceClient: Client }, { PassThroughClient }] = await Promise.all([
      import('@google-cloud/secret-manager'),
      import('google-auth-library'),
    ]);
    const { grpc } = await import('google-gax');
    return new Client({
      apiEndpoint: hostname.replace(/^\[|\]$/g, ''),
      port: Number(port || (isTls ? 443 : 80)),
      sslCreds: isTls
        ? grpc.credentials.createSsl(Buffer.from(pem), null, null, { rejectUnauthorized: true })
        : grpc.credentials.createInsecure(),
      // The call brings its own: the SDK's chain would look for an identity by itself.
      authClient: new PassThroughClient(),
      'grpc.enable_http_proxy': 0,
      'grpc.enable_retries': 0,
      'grpc.service_config_disable_resolution': 1,
      'grpc.max_receive_message_length': MAX_ANSWER_BYTES,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
    });
  }
}

interface Answer {
  readonly name?: string | null;
  readonly payload?: {
    readonly data?: Uint8Array | string | null;
    /** A number, as text or Long. */
    readonly dataCrc32c?: { toString(): string } | null;
  } | null;
}

function secretOf(ref: SecretRef, { name, payload }: Answer): Secret {
  const { data, dataCrc32c: sum } = payload ?? {};
  if (!(data instanceof Uint8Array) || sum === undefined || sum === null)
    throw new VaultError('unavailable', 'the answer holds no payload with a checksum; check "endpoint"');
  if (sum.toString() !== String(crc32c(data)))
    throw new VaultError('unavailable', 'the payload was damaged on its way (crc32c); try again');
  const version = /\/versions\/(\d{1,10})$/.exec(name ?? '')?.[1];
  return toSecret(ref, data, version);
}

export const gcpSecretManager = define({
  type: 'gcp-secret-manager',
  summary: 'Google Cloud Secret Manager; the id is projects/P/secrets/S, or S with `project`',
  schema,
  build: (options): Vault => new GcpSecretManager(options),
});
