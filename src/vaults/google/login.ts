import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type {
  AuthClient,
  AwsClientOptions,
  IdentityPoolClientOptions,
  JWTOptions,
} from 'google-auth-library';
import { VaultError } from '../../types.ts';
import { within } from '../at-most.ts';
import { readFileSource } from '../source.ts';
import type { Transport } from '../transport.ts';
import { metadata } from './metadata.ts';

const SCOPE = 'https://www.googleapis.com/auth/cloud-platform';
const SERVICE = 'https://secretmanager.googleapis.com/';
/** How long before its end the machine's token is not used any more. */
const MARGIN_MS = 60_000;

/** Of Google's chain: what it leads to is the gate's. */
export const AMBIENT = ['GOOGLE_APPLICATION_CREDENTIALS'];

type Json = Readonly<Record<string, unknown>>;

/** The gate's access to Google Cloud: with a file of credentials, else with the identity of the machine. */
export class GoogleLogin {
  readonly #credentialsFile: string | undefined;
  readonly #transport: Transport;
  #opened: { readonly text: string; readonly client: Promise<AuthClient> } | undefined;
  #machine: { readonly token: string; readonly until: number } | undefined;
  #inFlight: Promise<string> | undefined;
  /** What a login's server answered last. */
  #last: { readonly status: number; readonly text: string } | VaultError | undefined;

  constructor(credentialsFile: string | undefined, transport: Transport) {
    this.#credentialsFile = credentialsFile;
    this.#transport = transport;
  }

  /** `Authorization` of a call. One login however many ask. Throws VaultError. */
  async authorization(signal: AbortSignal): Promise<string> {
    this.#inFlight ??= this.#authorization().finally(() => {
      this.#inFlight = undefined;
    });
    return within(signal, this.#inFlight);
  }

  /** After Google refused it. */
  forget(): void {
    this.#opened = undefined;
    this.#machine = undefined;
  }

  async #authorization(): Promise<string> {
    const file = this.#credentialsFile ?? ambientFile();
    if (file === undefined) return `Bearer ${await this.#ofMachine()}`;
    const text = await readFileSource({ name: 'credentials', file, shared: true });
    if (!isPublic(parse(text))) await readFileSource({ name: 'credentials', file });
    if (this.#opened?.text !== text) this.#opened = { text, client: this.#open(text) };
    const opened = this.#opened;
    this.#last = undefined;
    try {
      const headers = await (await opened.client).getRequestHeaders(SERVICE);
      const value = headers.get('authorization');
      if (value !== null) return value;
    } catch (error) {
      if (this.#opened === opened) this.#opened = undefined;
      throw error instanceof VaultError ? error : this.#refused();
    }
    throw this.#refused();
  }

  async #ofMachine(): Promise<string> {
    const now = Date.now();
    if (this.#machine && now < this.#machine.until) return this.#machine.token;
    const text = await metadata(this.#transport, 'token', AbortSignal.timeout(8_000));
    const { access_token: token, expires_in: life } = parse(text);
    if (typeof token !== 'string' || !/^[\x21-\x7e]{8,}$/.test(token) || typeof life !== 'number')
      throw new VaultError('unavailable', 'the metadata server gave no token; check GCE_METADATA_HOST');
    this.#machine = { token, until: now + life * 1000 - MARGIN_MS };
    return token;
  }

  async #open(content: string): Promise<AuthClient> {
    const json = parse(content);
    const sdk = await import('google-auth-library');
    const options: Pick<JWTOptions, 'transporterOptions'> = {
      transporterOptions: { fetchImplementation: this.#fetch, retry: false, retryConfig: { retry: 0 } },
    };
    const text = (key: string): string => (typeof json[key] === 'string' ? json[key] : '');
    switch (json['type']) {
      case 'service_account': {
        // A JWT of its own, for this service alone: nobody need be asked for a token (google.aip.dev/auth/4111).
        return new sdk.JWT({
          ...options,
          email: text('client_email'),
          key: text('private_key'),
          keyId: text('private_key_id'),
        });
      }
      case 'authorized_user':
        return new sdk.UserRefreshClient({
          ...options,
          clientId: text('client_id'),
          clientSecret: text('client_secret'),
          refreshToken: text('refresh_token'),
        });
      case 'external_account': {
        const merged = { ...json, ...options, scopes: [SCOPE] } as unknown;
        const { credential_source: source = {} } = json as { credential_source?: Json };
        // One that runs a command is refused: nothing may name one but the gate's own configuration.
        const isKnown = ['file', 'url', 'environment_id'].some(key => source[key] !== undefined);
        if (!isKnown || source['executable'] !== undefined) break;
        return ofTransport(
          source['environment_id'] === undefined
            ? new sdk.IdentityPoolClient(merged as IdentityPoolClientOptions)
            : new sdk.AwsClient(merged as AwsClientOptions),
        );
      }
    }
    throw new VaultError(
      'unavailable',
      'the file of credentials is of another kind; write one of a service account, of workload identity federation (file, url or AWS), or of "gcloud auth application-default login"',
    );
  }

  /** The gate's own transport in place of the library's, which knows proxy variables and follows redirects. */
  readonly #fetch = async (input: unknown, init: RequestInit = {}): Promise<Response> => {
    try {
      const url = new URL(input instanceof Request ? input.url : String(input));
      const { method = 'GET', body } = init;
      const text = body instanceof URLSearchParams ? body.toString() : body;
      if (text !== undefined && text !== null && typeof text !== 'string')
        throw new VaultError('unavailable', 'the library sends what is no text');
      const headers = Object.fromEntries(new Headers(init.headers));
      if (body instanceof URLSearchParams) headers['content-type'] ??= 'application/x-www-form-urlencoded';
      if (text) headers['content-length'] = String(Buffer.byteLength(text));
      // Where a cloud has its metadata; a token is never sent so.
      const insecure = method === 'GET' && !('authorization' in headers);
      const answer = await this.#transport.send({ method, url, headers, body: text ?? undefined, insecure });
      this.#last = answer;
      const { status } = answer;
      return new Response(status === 204 ? null : answer.text, { status, headers: { ...answer.headers } });
    } catch (error) {
      const isTold = error instanceof VaultError;
      this.#last = isTold ? error : new VaultError('unavailable', 'there was no answer');
      throw error;
    }
  };

  #refused(): VaultError {
    const last = this.#last;
    if (last instanceof VaultError) return new VaultError('unavailable', `the login: ${last.message}`);
    if (!last)
      return new VaultError(
        'unavailable',
        'the file of credentials cannot be used; check it, and what it names',
      );
    const word = /"error"\s*:\s*"(invalid_(?:grant|client|request|target|scope)|unauthorized_client)"/.exec(
      last.text,
    )?.[1];
    const said = word === undefined ? String(last.status) : `${last.status}, ${word}`;
    const isPassing = last.status === 429 || last.status >= 500;
    const advice = isPassing
      ? 'try again later'
      : 'check that the identity still exists, the pool and provider, and the time of this machine';
    return new VaultError('unavailable', `Google refused the login (${said}); ${advice}`);
  }
}

/** A configuration of federation without a secret, which is often mounted for everybody to read. */
function isPublic({ type, client_secret: secret, credential_source: source }: Json): boolean {
  const { headers } = (source ?? {}) as { headers?: unknown };
  return type === 'external_account' && secret === undefined && headers === undefined;
}

/** The library gives its own client to the exchange of tokens. */
function ofTransport(client: AuthClient): AuthClient {
  const { stsCredential } = client as unknown as { stsCredential: { transporter: unknown } };
  stsCredential.transporter = client.transporter;
  return client;
}

/** As Google's libraries look for it (google.aip.dev/auth/4110), without a probe. */
function ambientFile(): string | undefined {
  const named = process.env['GOOGLE_APPLICATION_CREDENTIALS'];
  if (named !== undefined && named !== '') return named;
  const folder = process.env['CLOUDSDK_CONFIG'] || join(homedir(), '.config', 'gcloud');
  const file = join(folder, 'application_default_credentials.json');
  return existsSync(file) ? file : undefined;
}

function parse(text: string): Json {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Its error quotes the text.
  }
  if (typeof value === 'object' && value !== null) return value as Json;
  throw new VaultError(
    'unavailable',
    'what the gate logs in with is not JSON; check the file of credentials',
  );
}
