import { isDevice } from '../audit/log.ts';
import { compileConfig } from '../config/compile.ts';
import type { Policy } from '../config/load.ts';
import type { Compiled, Config } from '../config/types.ts';
import { type ConfigWatch, needsRestart, watchConfig } from '../config/watch.ts';
import type { Log } from '../types.ts';
import type { Fixed } from './calls.ts';
import type { Crew } from './crew.ts';

/** Sections that are fixed for a worker, and not for the primary. */
const ROLLED: readonly string[] = ['audit', 'limits'];

/** The configuration of a gate with workers: all of them serve by one text, which the primary has read. */
export class Configuration {
  readonly #log: Log;
  readonly #crew: Crew;
  readonly #watcher: ConfigWatch;
  #fixed: Fixed;
  #text: string;
  #compiled: Compiled;
  /** As the file has it, with what does not count yet. */
  #wanted: Config;
  /** Reloads are taken one after the other. */
  #turn = Promise.resolve();
  /** A signal asked for what is read next: the workers may be replaced. */
  #isAsked = false;

  constructor({ config, text }: Policy, log: Log, crew: Crew) {
    const { listen, ca, state, audit, limits } = config;
    this.#log = log;
    this.#crew = crew;
    this.#fixed = { listen, ca, state, audit, limits };
    this.#text = text;
    this.#compiled = compileConfig(config);
    this.#wanted = config;
    this.#watcher = watchConfig(
      config.file,
      (compiled, read) => {
        const isAsked = this.#takeAsked();
        this.#turn = this.#turn.then(() => this.#use(compiled, read, isAsked));
      },
      cause => {
        this.#takeAsked();
        this.#keep(cause);
      },
    );
  }

  get compiled(): Compiled {
    return this.#compiled;
  }

  /** What a worker starts with. */
  get text(): string {
    return this.#text;
  }

  get fixed(): Fixed {
    return this.#fixed;
  }

  /** Reads the file now, and replaces the workers if that is what a change needs. */
  reload(): void {
    this.#isAsked = true;
    this.#watcher.reload();
  }

  close(): void {
    this.#watcher.close();
  }

  /** Once; a large file is told of later than it is asked for. */
  #takeAsked(): boolean {
    const isAsked = this.#isAsked;
    this.#isAsked = false;
    return isAsked;
  }

  async #use(next: Compiled, text: string, isAsked: boolean): Promise<void> {
    const { file } = next.config;
    const before = this.#text;
    this.#text = text;
    // First the workers: what is handed out by the new one must be good at each of them.
    if (!(await this.#tell(text))) {
      this.#text = before;
      await this.#tell(before);
      return this.#keep(new Error('a worker cannot use it, as its log says'));
    }
    this.#wanted = next.config;
    this.#compiled = { ...next, config: { ...next.config, ...this.#fixed } };
    const waiting = needsRestart(this.#compiled.config, next.config);
    const rolled = waiting.filter(section => ROLLED.includes(section));
    const others = waiting.filter(section => !ROLLED.includes(section));
    if (others.length > 0) this.#log.warn(`changes of ${others.join(', ')} count after a restart`, { file });
    if (rolled.length > 0 && !isAsked)
      this.#log.warn(`changes of ${rolled.join(', ')} count after SIGHUP, which replaces the workers`, {
        file,
      });
    this.#log.info('configuration reloaded', { file });
    // Not waited for: another configuration may come meanwhile.
    if (rolled.length > 0 && isAsked) void this.#roll(rolled);
  }

  async #tell(text: string): Promise<boolean> {
    const taken = await Promise.all([...this.#crew.living].map(member => member.reload(text)));
    return taken.every(Boolean);
  }

  async #roll(sections: readonly string[]): Promise<void> {
    const before = this.#fixed;
    const { audit, limits } = this.#wanted;
    this.#fixed = { ...before, audit, limits };
    this.#log.info('workers are replaced one after the other', { for: sections });
    try {
      requireChains(audit.file);
      await this.#crew.roll();
      this.#compiled = { ...this.#compiled, config: { ...this.#compiled.config, ...this.#fixed } };
      this.#log.info('workers are replaced');
    } catch (cause) {
      this.#fixed = before;
      this.#log.error('workers are not all replaced: the others serve by the old configuration', { cause });
    }
  }

  #keep(cause: unknown): void {
    this.#log.error('configuration not reloaded: the last good one stays', { cause });
  }
}

/** Throws an Error for the operator if several processes cannot write their lines beside that file. */
export function requireChains(audit: string): void {
  if (isDevice(audit))
    throw new Error(
      `${audit}: each worker writes a chain of its own; name a file in audit.file, or write listen.workers: 1`,
    );
}
