import type { MemorySessions } from '../state/memory.ts';
import type { SessionOptions } from '../state/session.ts';
import type { Sessions } from '../state/sessions.ts';
import type { Session } from '../types.ts';

/** Sessions that are all known here; who makes and ends them is told by whoever extends it. */
export abstract class KnownSessions implements Sessions {
  readonly healthy = true;
  readonly suspended = false;
  protected readonly memory: MemorySessions;

  constructor(memory: MemorySessions) {
    this.memory = memory;
  }

  abstract create(options: SessionOptions): ReturnType<Sessions['create']>;
  abstract open(tokenHash: string, options: SessionOptions): ReturnType<Sessions['open']>;
  abstract revoke(id: string): ReturnType<Sessions['revoke']>;

  get live(): number {
    return this.memory.live;
  }

  known(): readonly Session[] {
    return this.memory.known();
  }

  list(): readonly Session[] {
    return this.memory.list();
  }

  byToken(tokenHash: string): Session | undefined {
    return this.memory.byToken(tokenHash);
  }

  lookUp(): undefined {
    return undefined;
  }

  get(id: string): Session | undefined {
    return this.memory.get(id);
  }

  onEnd(listener: (session: Session) => void): () => void {
    return this.memory.onEnd(listener);
  }

  sweep(now: number): void {
    this.memory.sweep(now);
  }
}
