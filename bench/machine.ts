import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';

export interface Machine {
  readonly cores: number;
  readonly cpu: string;
  readonly memory_gb: number;
  readonly kernel: string;
  readonly node: string;
  /** Load average of the last minute at the start: what else was running. */
  readonly load: number;
}

export function machine(): Machine {
  return {
    cores: cpus().length,
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    memory_gb: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    load: Number(readFileSync('/proc/loadavg', 'latin1').split(' ')[0]),
  };
}

/** The first two cores that we may use: one for origin, load generator and this process, one for the proxies. */
export function twoCores(): [number, number] {
  const list = /^Cpus_allowed_list:\s*(.+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '';
  const allowed = list.split(',').flatMap(range => {
    const [from = 0, to = from] = range.split('-').map(Number);
    return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  });
  const [first, second] = allowed;
  if (first === undefined || second === undefined)
    throw new Error(`two cores are needed; allowed here: ${list}`);
  return [first, second];
}
