import type { Server } from 'node:net';
import type { SessionAnswer } from '../../admin/wiring.ts';
import type { Usage } from '../../audit/metrics.ts';
import type { Compiled } from '../../config/types.ts';
import type { Canary } from '../../proof/canary.ts';

export interface ProgramOptions {
  readonly compiled: Compiled;
  readonly profile: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Of this process, before anything was changed in it. */
  readonly inherited: Readonly<Record<string, string | undefined>>;
  readonly isolate: boolean;
  readonly writable: readonly string[];
  /** Folders whose written files are looked at, besides the current one, HOME and TMPDIR. */
  readonly watch: readonly string[];
  /** With the configuration's own vaults and upstreams. */
  readonly real: boolean;
}

/** A session for the program, and what must not be found with it. */
export interface Scene {
  readonly answer: SessionAnswer;
  /** What this process would hand down: an `env` vault's variables hold what is looked for. */
  readonly inherited: Readonly<Record<string, string | undefined>>;
  canaries(): readonly Canary[];
  /** Tells of secrets that are known only later. */
  onNew(told: (canary: Canary) => void): void;
  serve(listener: Server): void;
  usage(): Usage;
  close(): Promise<void>;
}
