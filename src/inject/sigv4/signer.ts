import { createHmac } from 'node:crypto';
import { sha256 } from './canonical.ts';

/** What a signature holds for, besides its request. */
export interface Scope {
  /** `YYYYMMDDTHHMMSSZ` */
  readonly time: string;
  /** Empty with `regionSet`. */
  readonly region: string;
  /** SigV4A: it holds for all of them; such as `*`. */
  readonly regionSet?: readonly string[];
  readonly service: string;
}

export const HMAC = 'AWS4-HMAC-SHA256';
const EMPTY = sha256('');

/** Signs in one scope with one secret access key: the request, then the chunks of its body, each with the one before. */
export class Signer {
  readonly #key: Buffer;
  readonly #time: string;
  readonly #scope: string;
  /** Of what was signed last; hex. */
  #last: string;

  /** `last`: the signature of the request, to sign what follows it. */
  constructor(secretKey: string, scope: Scope, last = '') {
    this.#last = last;
    this.#time = scope.time;
    this.#scope = scopeText(scope);
    const parts = this.#scope.split('/');
    this.#key = parts.reduce<Buffer>(hmac, Buffer.from(`AWS4${secretKey}`, 'utf8'));
  }

  /** `hash`: of the canonical request. */
  request(hash: string): string {
    return this.#sign(HMAC, [hash]);
  }

  chunk(data: Buffer): string {
    return this.#sign(`${HMAC}-PAYLOAD`, [this.#last, EMPTY, sha256(data)]);
  }

  /** `lines`: `name:value` and a line feed for each trailer. */
  trailer(lines: string): string {
    return this.#sign(`${HMAC}-TRAILER`, [this.#last, sha256(lines)]);
  }

  #sign(algorithm: string, rest: readonly string[]): string {
    const text = [algorithm, this.#time, this.#scope, ...rest].join('\n');
    this.#last = hmac(this.#key, text).toString('hex');
    return this.#last;
  }
}

/** `YYYYMMDD/region/service/aws4_request`; of SigV4A without a region. */
export function scopeText({ time, region, service, regionSet }: Scope): string {
  const where = regionSet ? service : `${region}/${service}`;
  return `${time.slice(0, 8)}/${where}/aws4_request`;
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text, 'latin1').digest();
}
