import { inspect } from 'node:util';

/** AWS keys, each a secret of its own. */
export interface AwsKeys {
  /** Called `<name>#AccessKeyId`. */
  readonly id: Secret;
  /** Has the name of the whole: the stub stands in its place. */
  readonly secretKey: Secret;
  /** Called `<name>#SessionToken`. */
  readonly token: Secret | undefined;
}

/** A token that says on whose behalf a session runs, as its issuer made it (`subject_token` of RFC 8693). */
export interface Subject {
  readonly token: Secret;
  /** ms since the epoch; absent: the token does not say it. */
  readonly endsAt?: number;
  /** The sandbox has it, as its credential to the gate: nothing to hide from it. */
  readonly isOwn: boolean;
}

/**
 * A value that cannot be printed: every way to turn it into text gives `[secret <name>]`.
 * `reveal()` is the one way out, and may be called only in `inject/`, `mint/` and `scrub/` (a test enforces it).
 */
export class Secret {
  readonly name: string;
  /** What the vault calls this version of the value; safe to log. */
  readonly version: string | undefined;
  readonly #value: string;
  #awsKeys: AwsKeys | null | undefined;

  constructor(name: string, value: string, version?: string) {
    this.name = name;
    this.version = version;
    this.#value = value;
  }

  /** Length in UTF-16 units. */
  get length(): number {
    return this.#value.length;
  }

  reveal(): string {
    return this.#value;
  }

  /** The parts of a value in the format of the AWS SDKs' `credential_process`; undefined for any other value. */
  get awsKeys(): AwsKeys | undefined {
    if (this.#awsKeys === undefined) this.#awsKeys = this.#parseAwsKeys() ?? null;
    return this.#awsKeys ?? undefined;
  }

  #parseAwsKeys(): AwsKeys | undefined {
    if (!/^\s*\{[^]*"SecretAccessKey"/.test(this.#value)) return undefined;
    const { AccessKeyId: id, SecretAccessKey: key, SessionToken: token } = parseObject(this.#value);
    if (!isKey(id) || !/^\w+$/.test(id) || !isKey(key)) return undefined;
    const hasToken = token !== undefined && token !== null && token !== '';
    if (hasToken && !isKey(token)) return undefined;
    const part = (of: string, value: string): Secret => new Secret(this.name + of, value, this.version);
    return {
      id: part('#AccessKeyId', id),
      secretKey: part('', key),
      token: hasToken ? part('#SessionToken', token) : undefined,
    };
  }

  /** The same secret in another spelling, such as the `Basic` credential that holds it. */
  as(value: string): Secret {
    return new Secret(this.name, value, this.version);
  }

  /** The same value under another name. */
  named(name: string): Secret {
    return new Secret(name, this.#value, this.version);
  }

  /** Whether both hold the same text, without showing either. */
  equals(other: Secret): boolean {
    return this.#value === other.#value;
  }

  toString(): string {
    return `[secret ${this.name}]`;
  }

  toJSON(): string {
    return this.toString();
  }

  [Symbol.toPrimitive](): string {
    return this.toString();
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

/** Empty for a text that is no JSON object. */
function parseObject(text: string): Readonly<Record<string, unknown>> {
  try {
    return { ...(JSON.parse(text) as Record<string, unknown>) };
  } catch {
    return {};
  }
}

/** Long enough to be found, and fit for a header field. */
function isKey(value: unknown): value is string {
  return typeof value === 'string' && /^[\x21-\x7e]{8,8192}$/.test(value);
}
