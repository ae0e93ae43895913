import { VaultError } from '../../types.ts';
import type { JsonAnswer, JsonClient } from '../http.ts';
import { type Auth, prove } from './auth.ts';

/** Of a login or a renewal: less than what one read gets, so that its own fault is told. */
const TIMEOUT_MS = 8_000;
/** Part of a lease after which it is renewed, and part after which a token is not used any more. */
const RENEW_AT = 2 / 3;
const USE_UNTIL = 9 / 10;
const LEAST_WAIT_MS = 1_000;
const MAX_WAIT_MS = 24 * 3_600_000;

/** Times: ms of `performance.now()`. */
interface Token {
  readonly value: string;
  /** Infinity: it does not expire. */
  readonly usableUntil: number;
  readonly expiresAt: number;
  readonly renewable: boolean;
}

interface Lease {
  readonly seconds: number;
  readonly renewable: boolean;
}

/** The gate's token for one Vault: logged in for when first needed, renewed while it is used. */
export class Login {
  readonly #auth: Auth;
  readonly #client: JsonClient;
  readonly #headers: Readonly<Record<string, string>>;
  #token: Token | undefined;
  #inFlight: Promise<string> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #used = false;

  constructor(auth: Auth, client: JsonClient, headers: Readonly<Record<string, string>>) {
    this.#auth = auth;
    this.#client = client;
    this.#headers = headers;
  }

  /** One login however many ask. Throws VaultError. */
  token(): Promise<string> {
    this.#used = true;
    const token = this.#token;
    if (token && performance.now() < token.usableUntil) return Promise.resolve(token.value);
    this.#inFlight ??= this.#logIn().finally(() => {
      this.#inFlight = undefined;
    });
    return this.#inFlight;
  }

  /** After a 403: whether it was for the token, which is then given up, and not for what was asked for. */
  async isRejected(value: string): Promise<boolean> {
    if (this.#token?.value !== value) return true;
    const { status } = await this.#call('GET', 'auth/token/lookup-self', value);
    if (status === 200) return false;
    if (this.#token?.value === value) this.#forget();
    return true;
  }

  async #logIn(): Promise<string> {
    const proof = await prove(this.#auth);
    if (typeof proof === 'string') return this.#take(proof, await this.#leaseOf(proof));
    const answer = await this.#call('POST', proof.path, undefined, proof.body);
    if (answer.status !== 200) throw refused(this.#auth, proof.path, answer.status);
    const { client_token: value, ...lease } = authOf(answer.body);
    if (typeof value === 'string' && /^[\x21-\x7e]+$/.test(value)) return this.#take(value, granted(lease));
    throw new VaultError('unavailable', 'the login gave no token; check that "address" is that of a Vault');
  }

  /** Of a token that was not logged in for. Its policy may forbid to ask; the first read tells whether it is good. */
  async #leaseOf(token: string): Promise<Lease> {
    const { status, body } = await this.#call('GET', 'auth/token/lookup-self', token);
    if (status === 200) return lookedUp(body);
    if (status === 403) return { seconds: 0, renewable: false };
    throw refused(this.#auth, 'auth/token/lookup-self', status);
  }

  #take(value: string, { seconds, renewable }: Lease): string {
    const now = performance.now();
    const lease = seconds > 0 ? seconds * 1000 : Number.POSITIVE_INFINITY;
    this.#forget();
    this.#token = { value, renewable, usableUntil: now + lease * USE_UNTIL, expiresAt: now + lease };
    this.#schedule();
    return value;
  }

  #forget(): void {
    clearTimeout(this.#timer);
    this.#token = undefined;
  }

  /** A token that nobody used since is left to expire: its vault may be one that a reload replaced. */
  #schedule(): void {
    const token = this.#token;
    if (!token?.renewable || token.expiresAt === Number.POSITIVE_INFINITY) return;
    const wait = (token.expiresAt - performance.now()) * RENEW_AT;
    if (wait < LEAST_WAIT_MS / 2) return;
    this.#used = false;
    this.#timer = setTimeout(
      () => {
        if (this.#used) void this.#renew(token);
        else this.#timer = undefined;
      },
      Math.min(wait, MAX_WAIT_MS),
    );
    this.#timer.unref();
  }

  /** Never throws: a token that cannot be renewed is used until it expires, and then there is a new login. */
  async #renew(token: Token): Promise<void> {
    const answer = await this.#call('POST', 'auth/token/renew-self', token.value, {}).catch(() => undefined);
    if (this.#token !== token) return;
    if (answer?.status === 403) return this.#forget();
    if (answer?.status !== 200) return this.#schedule();
    const lease = granted(authOf(answer.body));
    // At its longest life a token gets no more time: the next login does.
    if (performance.now() + lease.seconds * 1000 > token.expiresAt + LEAST_WAIT_MS / 2)
      this.#take(token.value, lease);
  }

  #call(method: 'GET' | 'POST', path: string, token?: string, body?: unknown): Promise<JsonAnswer> {
    const headers = { ...this.#headers, ...(token !== undefined && { 'x-vault-token': token }) };
    return this.#client.send(
      { method, path: `/v1/${path}`, headers, ...(body !== undefined && { body }) },
      AbortSignal.timeout(TIMEOUT_MS),
    );
  }
}

interface Granted {
  readonly client_token?: unknown;
  readonly lease_duration?: unknown;
  readonly renewable?: unknown;
}

function authOf(body: unknown): Granted {
  return (body as { auth?: Granted } | undefined)?.auth ?? {};
}

function granted({ lease_duration, renewable }: Granted): Lease {
  return { seconds: asSeconds(lease_duration), renewable: renewable === true };
}

function lookedUp(body: unknown): Lease {
  const { ttl, renewable } =
    (body as { data?: { ttl?: unknown; renewable?: unknown } } | undefined)?.data ?? {};
  return { seconds: asSeconds(ttl), renewable: renewable === true };
}

function asSeconds(value: unknown): number {
  return typeof value === 'number' && value > 0 ? value : 0;
}

const CHECK: Readonly<Record<Auth['method'], string>> = {
  token: 'the token',
  approle: 'the role id, and whether the secret id has expired',
  kubernetes: 'auth.role, and the service account and namespace that it is bound to',
  aws: 'auth.role, the IAM principal that it is bound to, and region and server_id',
  jwt: 'auth.role, and the audience and claims that it is bound to',
};

function refused({ method }: Auth, path: string, status: number): VaultError {
  if (status === 404)
    return new VaultError('unavailable', `there is no login at ${path} (404); check "mount" and "namespace"`);
  const advice = status < 500 && status !== 429 ? `check ${CHECK[method]}` : 'check that Vault is unsealed';
  return new VaultError('unavailable', `Vault refused the login with ${method} (${status}); ${advice}`);
}
