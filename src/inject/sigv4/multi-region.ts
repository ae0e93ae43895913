import { Buffer } from 'node:buffer';
import {
  createECDH,
  createHmac,
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { type Scope, scopeText } from './signer.ts';

export const ECDSA = 'AWS4-ECDSA-P256-SHA256';
/** Order of P-256's group (SP 800-186, section 3.2.1.3), less two. */
const MOST = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc63254fn;
const MAX_COUNTER = 254;

/** Signs requests for a set of regions (SigV4A) with one pair of access keys, each of which makes the key on P-256. */
export class MultiRegionSigner {
  readonly #key: KeyObject;
  readonly #scope: Scope;

  constructor(id: string, secretKey: string, scope: Scope) {
    this.#key = derivedKey(id, secretKey);
    this.#scope = scope;
  }

  /** Hex of DER, another one each time. `hash`: of the canonical request. */
  request(hash: string): string {
    return sign('sha256', this.#text(hash), this.#key).toString('hex');
  }

  verifies(hash: string, signature: string): boolean {
    return verify('sha256', this.#text(hash), createPublicKey(this.#key), Buffer.from(signature, 'hex'));
  }

  #text(hash: string): Buffer {
    return Buffer.from([ECDSA, this.#scope.time, scopeText(this.#scope), hash].join('\n'), 'latin1');
  }
}

/** By AWS's KDF: counter mode with HMAC (SP 800-108, section 4.1), candidates tested (FIPS 186-5, appendix A.2.2). */
function derivedKey(id: string, secretKey: string): KeyObject {
  for (let counter = 1; counter <= MAX_COUNTER; counter++) {
    const candidate = createHmac('sha256', `AWS4A${secretKey}`)
      .update(Buffer.of(0, 0, 0, 1))
      .update(`${ECDSA}\0${id}`, 'latin1')
      // Bits wanted: 256.
      .update(Buffer.of(counter, 0, 0, 1, 0))
      .digest();
    const number = BigInt(`0x${candidate.toString('hex')}`);
    if (number <= MOST) return keyOf(number + 1n);
  }
  throw new Error('no key on P-256 can be made of these AWS keys');
}

function keyOf(number: bigint): KeyObject {
  const d = Buffer.from(number.toString(16).padStart(64, '0'), 'hex');
  const curve = createECDH('prime256v1');
  curve.setPrivateKey(d);
  const point = curve.getPublicKey();
  const [x, y] = [point.subarray(1, 33), point.subarray(33)].map(half => half.toString('base64url'));
  const jwk = { kty: 'EC', crv: 'P-256', d: d.toString('base64url'), x: x as string, y: y as string };
  return createPrivateKey({ key: jwk, format: 'jwk' });
}
