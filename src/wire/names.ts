/**
 * A set of lower-case field names, asked in any case. Length and first letter sort out nearly every other name, so
 * that few are lower-cased.
 */
export class Names {
  readonly #names: ReadonlySet<string>;
  /** By length and the low five bits of the first letter, which upper and lower case share. */
  readonly #shapes = new Uint8Array(32 * 32);

  constructor(...names: readonly string[]) {
    this.#names = new Set(names);
    for (const name of names) this.#shapes[shape(name)] = 1;
  }

  /** The name in lower case if it is one of these; otherwise undefined. */
  find(name: string): string | undefined {
    if (this.#shapes[shape(name)] !== 1) return undefined;
    const lower = name.toLowerCase();
    return this.#names.has(lower) ? lower : undefined;
  }

  has(name: string): boolean {
    return this.find(name) !== undefined;
  }
}

function shape(name: string): number {
  return ((name.length & 31) << 5) | (name.charCodeAt(0) & 31);
}
