import type { Buffer } from 'node:buffer';
import type { Log } from '../types.ts';
import { MemorySessions } from './memory.ts';
import type { RedisOptions } from './redis/options.ts';
import type { State } from './state.ts';

/** `caKey`: the CA's private key, from which what gates share is derived unless there is a key for that. */
export async function openState(options: 'memory' | RedisOptions, caKey: Buffer, log: Log): Promise<State> {
  if (options === 'memory') return memoryState(caKey);
  // Not before it is asked for: its client library takes time to load.
  const { openRedis } = await import('./redis/open.ts');
  return openRedis(options, caKey, log);
}

function memoryState(key: Buffer): State {
  return {
    sessions: new MemorySessions(),
    permits: undefined,
    store: undefined,
    key,
    publish: () => {},
    close: () => {},
  };
}
