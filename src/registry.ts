import type { z } from 'zod';

/**
 * A plug-in: one file defines it, one line in its room's `index.ts` registers it, and the configuration's schema
 * grows from the registered ones. `schema` describes the plug-in's own keys, without the key that names its type.
 */
export interface Plugin<Options, Built> {
  readonly type: string;
  /** One line for `--help`, the JSON Schema and the docs. */
  readonly summary: string;
  readonly schema: z.ZodType<Options>;
  /** Makes the part; does no I/O. */
  readonly build: (options: Options) => Built;
}

/** Ties the options' type between `schema` and `build`, then forgets it: `schema` checks a value before `build` sees it. */
export function define<Options, Built>(plugin: Plugin<Options, Built>): Plugin<unknown, Built> {
  return plugin as unknown as Plugin<unknown, Built>;
}

/** The registered plug-ins of one room, by type. */
export class Registry<Built> {
  readonly #plugins: ReadonlyMap<string, Plugin<unknown, Built>>;

  constructor(plugins: readonly Plugin<unknown, Built>[]) {
    this.#plugins = new Map(plugins.map(plugin => [plugin.type, plugin]));
  }

  get types(): string[] {
    return [...this.#plugins.keys()];
  }

  get(type: string): Plugin<unknown, Built> | undefined {
    return this.#plugins.get(type);
  }

  /** Builds a part of `type` from options that are still unchecked; throws ZodError on bad ones. */
  build(type: string, options: unknown): Built {
    const plugin = this.#plugins.get(type);
    if (!plugin) throw new Error(`unknown type "${type}"; one of ${this.types.join(', ')}`);
    return plugin.build(plugin.schema.parse(options));
  }
}
