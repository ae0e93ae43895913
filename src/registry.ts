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

/** Keeps the options' type tied between `schema` and `build`. */
export function define<Options, Built>(plugin: Plugin<Options, Built>): Plugin<Options, Built> {
  return plugin;
}

/** The registered plug-ins of one room, by type. */
export class Registry<Built> {
  // The options' type differs per plug-in; `schema` has checked a value before `build` sees it.
  readonly #plugins: ReadonlyMap<string, Plugin<unknown, Built>>;

  constructor(plugins: readonly Plugin<never, Built>[]) {
    this.#plugins = new Map(plugins.map(p => [p.type, p as unknown as Plugin<unknown, Built>]));
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
