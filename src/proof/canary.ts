import { randomInt } from 'node:crypto';
import { isAwsShape } from '../inject/shape.ts';
import { Secret } from '../secret.ts';
import type { SecretRef, Vault } from '../types.ts';

const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
const LENGTH = 40;

/** A value that stands for a credential's secret, and is looked for in whatever a sandbox can see. */
export interface Canary {
  readonly credential: string;
  /** ASCII that every placement can carry, and that escapes differently in each of them. */
  readonly value: string;
  /** Of keys that consist of several: its member in their JSON. */
  readonly part?: string;
}

interface Held {
  readonly name: string;
  readonly stub: { readonly shape: string };
}

/** A fresh canary for each credential, or for each part of one that is AWS keys. */
export function canariesFor(credentials: Iterable<Held>): Canary[] {
  return [...credentials].flatMap(({ name: credential, stub }): Canary[] => {
    if (!isAwsShape(stub.shape)) return [{ credential, value: fresh() }];
    return [
      { credential, part: 'AccessKeyId', value: `AKIA${random(BASE32, 16)}` },
      { credential, part: 'SecretAccessKey', value: fresh() },
      { credential, part: 'SessionToken', value: fresh() },
    ];
  });
}

function fresh(): string {
  return `${random(BASE62, LENGTH / 2)}+/${random(BASE62, LENGTH / 2 - 2)}`;
}

function random(alphabet: string, length: number): string {
  return Array.from({ length }, () => alphabet[randomInt(alphabet.length)]).join('');
}

/** In the place of every vault: the id of a ref is the credential's name. */
export class CanaryVault implements Vault {
  readonly #values: ReadonlyMap<string, string>;

  constructor(canaries: readonly Canary[]) {
    const all = Map.groupBy(canaries, ({ credential }) => credential);
    this.#values = new Map([...all].map(([credential, parts]) => [credential, textOf(parts)]));
  }

  async read({ id }: SecretRef): Promise<Secret> {
    const value = this.#values.get(id);
    if (value === undefined) throw new Error(`no canary for ${id}`);
    return new Secret(id, value, 'canary');
  }
}

function textOf(parts: readonly Canary[]): string {
  const [first] = parts;
  if (first && first.part === undefined) return first.value;
  return JSON.stringify(Object.fromEntries(parts.map(({ part, value }) => [part, value])));
}
