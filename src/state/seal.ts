import { Buffer } from 'node:buffer';
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  hkdfSync,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import { randomBase62, toBase62 } from '../inject/base62.ts';

const ALGORITHM = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** The first byte of a sealed text: how the rest is read. */
const FORMAT = 1;
const RANDOM_LENGTH = 43;
/** 65 bits. */
const PROOF_LENGTH = 11;
const TOKEN = new RegExp(`^sgt_[A-Za-z0-9]{${RANDOM_LENGTH + PROOF_LENGTH}}$`);

/** What gates that share a Redis hold, and Redis does not: keys derived from one that they were all given. */
export class Seal {
  readonly #values: Buffer;
  readonly #names: Buffer;
  readonly #tokens: Buffer;

  /** `key`: 32 bytes or more of an even distribution, or text of as much entropy. */
  constructor(key: Buffer) {
    const derive = (purpose: string): Buffer =>
      Buffer.from(hkdfSync('sha256', key, Buffer.alloc(0), `stubgate state ${purpose} v1`, 32));
    this.#values = derive('values');
    this.#names = derive('names');
    this.#tokens = derive('tokens');
  }

  /** AES-256-GCM, base64. `place`: where it will stand, so that it cannot be read anywhere else. */
  seal(place: string, text: string): string {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(ALGORITHM, this.#values, nonce).setAAD(Buffer.from(place));
    const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
    return Buffer.concat([Buffer.of(FORMAT), nonce, cipher.getAuthTag(), sealed]).toString('base64');
  }

  /** Undefined if it was sealed by another key, for another place, or changed since. */
  open(place: string, sealed: string): string | undefined {
    const bytes = Buffer.from(sealed, 'base64');
    const start = 1 + NONCE_BYTES + TAG_BYTES;
    if (bytes[0] !== FORMAT || bytes.length < start) return undefined;
    const decipher = createDecipheriv(ALGORITHM, this.#values, bytes.subarray(1, 1 + NONCE_BYTES), {
      authTagLength: TAG_BYTES,
    });
    decipher.setAAD(Buffer.from(place)).setAuthTag(bytes.subarray(1 + NONCE_BYTES, start));
    try {
      return decipher.update(bytes.subarray(start), undefined, 'utf8') + decipher.final('utf8');
    } catch {
      return undefined;
    }
  }

  /** A name that tells nothing about the one that it stands for; 32 hex digits. */
  hidden(name: string): string {
    return createHmac('sha256', this.#names).update(name).digest('hex').slice(0, 32);
  }

  /** A session's token: 256 random bits and a proof of them, so that nobody can make Redis look for invented ones. */
  newToken(): string {
    const random = randomBase62(RANDOM_LENGTH);
    return `sgt_${random}${this.#proof(random)}`;
  }

  proves(token: string): boolean {
    if (!TOKEN.test(token)) return false;
    const proof = Buffer.from(token.slice(-PROOF_LENGTH));
    return timingSafeEqual(proof, Buffer.from(this.#proof(token.slice(4, -PROOF_LENGTH))));
  }

  #proof(random: string): string {
    return toBase62(createHmac('sha256', this.#tokens).update(random).digest(), PROOF_LENGTH);
  }
}
