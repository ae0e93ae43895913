import { inspect } from 'node:util';

/**
 * A value that cannot be printed: every way to turn it into text gives `[secret <name>]`.
 * `reveal()` is the one way out, and may be called only in `inject/`, `mint/` and `scrub/` (a test enforces it).
 */
export class Secret {
  readonly name: string;
  /** What the vault calls this version of the value; safe to log. */
  readonly version: string | undefined;
  readonly #value: string;

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
