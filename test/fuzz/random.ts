/** Deterministic random numbers (xorshift32), so that a finding can be repeated from its seed. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0 || 1;
  }

  /** An integer from 0 to n - 1. */
  below(n: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % n;
  }

  chance(oneIn: number): boolean {
    return this.below(oneIn) === 0;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T;
  }

  /** Cuts `bytes` in up to `cuts` + 1 pieces, none of them empty. */
  split(bytes: Buffer, cuts: number): Buffer[] {
    const at = new Set<number>();
    for (let i = 0; i < cuts; i++) at.add(this.below(bytes.length + 1));
    const offsets = [0, ...[...at].toSorted((a, b) => a - b), bytes.length];
    return offsets
      .slice(1)
      .map((end, i) => bytes.subarray(offsets[i], end))
      .filter(piece => piece.length > 0);
  }
}
