import type { Secret } from '../secret.ts';
import { VaultError } from '../types.ts';
import type { Minted } from './credential.ts';
import { type Dial, poster, sender } from './http.ts';
import type { Token } from './minter.ts';
import type { Rotations } from './rotations.ts';
import { readSources, rereadSources, sourceNames, type Vaulted } from './sources.ts';
import { subjectOf } from './subject.ts';

const TIMEOUT_MS = 10_000;

export interface MintingOptions {
  readonly vaulted: Vaulted;
  readonly dial: Dial;
  readonly now: () => number;
  /** Of one mint, without the vault's time; 10 s. */
  readonly timeoutMs?: number | undefined;
  /** Undefined where a gate has nobody to take turns with. */
  readonly rotations: Rotations | undefined;
  /** The issuer has put something in the place of a long-lived secret. */
  readonly onRotated: () => void;
}

/** The way to a new token: reads what it is minted from, and asks its issuer. */
export class Minting {
  readonly #vaulted: Vaulted;
  readonly #dial: Dial;
  readonly #now: () => number;
  readonly #timeoutMs: number;
  readonly #rotations: Rotations | undefined;
  readonly #onRotated: () => void;

  constructor({ vaulted, dial, now, timeoutMs = TIMEOUT_MS, rotations, onRotated }: MintingOptions) {
    this.#vaulted = vaulted;
    this.#dial = dial;
    this.#now = now;
    this.#timeoutMs = timeoutMs;
    this.#rotations = rotations;
    this.#onRotated = onRotated;
  }

  /** One after the other where a mint replaces the secret that the next one needs. */
  run(minted: Minted): Promise<Token> {
    const credential = minted.of;
    if (!minted.source.minter.rotates) return this.#run(minted);
    const turn = credential.lastTurn.then(() => this.#run(minted));
    credential.lastTurn = turn.catch(() => {});
    return turn;
  }

  /** Once more, if the issuer refuses what was read from the vault, and the vault has something else by now. */
  async #run(minted: Minted): Promise<Token> {
    // First: without it nothing is read for it.
    this.#subject(minted);
    const names = sourceNames(minted);
    const read = await readSources(minted, this.#vaulted);
    try {
      return await this.#ask(minted, names, read);
    } catch (error) {
      if (!(error instanceof VaultError) || error.kind !== 'missing') throw error;
      const again = await rereadSources(minted, this.#vaulted, read);
      if (!again) throw error;
      return this.#ask(minted, names, again);
    }
  }

  /** In a turn of this gate, where a mint replaces the secret that the next one needs, at whichever gate. */
  async #ask(minted: Minted, names: readonly string[], read: readonly Secret[]): Promise<Token> {
    const { source, of: credential } = minted;
    const vaulted = read[0] as Secret;
    const rotate = (next: Secret): void => {
      credential.rotate(vaulted, next, this.#now());
      this.#onRotated();
    };
    if (!this.#rotations || !source.minter.rotates) return this.#mintWith(minted, names, read, rotate);
    return this.#rotations.inTurn(source.name, vaulted, async ({ latest, save }) => {
      if (latest && !latest.equals(credential.materialFor(vaulted))) rotate(latest);
      let saving: Promise<void> | undefined;
      const rotateAll = (next: Secret): void => {
        rotate(next);
        saving = save(next);
      };
      try {
        return await this.#mintWith(minted, names, read, rotateAll);
      } finally {
        await saving;
      }
    });
  }

  async #mintWith(
    minted: Minted,
    names: readonly string[],
    read: readonly Secret[],
    rotate: (next: Secret) => void,
  ): Promise<Token> {
    const { source, scope, of: credential } = minted;
    const [vaulted, ...further] = read as [Secret, ...Secret[]];
    const signal = AbortSignal.timeout(this.#timeoutMs);
    const late = new Promise<never>((_, reject) => {
      const error = new VaultError('unavailable', `no token within ${this.#timeoutMs} ms`);
      signal.addEventListener('abort', () => reject(error), { once: true });
    });
    const now = this.#now();
    const send = sender(this.#dial, signal);
    const token = source.minter.mint(scope, {
      from: credential.materialFor(vaulted),
      further: new Map(further.map((secret, i) => [names[i + 1] as string, secret])),
      subject: this.#subject(minted),
      ttlMs: source.ttlMs,
      now,
      post: poster(send),
      send,
      rotate: next => rotate(next.named(source.name)),
    });
    return Promise.race([late, token]);
  }

  #subject({ source, who }: Minted): Secret | undefined {
    return source.minter.usesSubject ? subjectOf(who, source.name, this.#now()) : undefined;
  }
}
