import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { filesOfWorkers } from '../audit/files.ts';
import type { AuditEvent } from '../types.ts';
import { UsageError } from './fail.ts';

/** A request that an audit line tells of. */
export interface Audited {
  readonly method: string;
  readonly url: string;
  /** What the gate said of it. */
  readonly said: string;
  /** What of it the audit does not hold. */
  readonly notes: readonly string[];
}

/**
 * The request of one line of an audit file; `-` is stdin. With an id also in those that other processes of the gate wrote
 * beside it; without one: of its only line. Throws UsageError.
 */
export async function findAudited(file: string, id: string | undefined): Promise<Audited> {
  let found: string | undefined;
  let lines = 0;
  for await (const line of linesOf(file, id !== undefined)) {
    if (line.trim() === '') continue;
    lines++;
    // Parsing each line of a long file would take a hundred times as long.
    if (id === undefined || (line.includes(id) && eventOf(line)?.request_id === id)) found = line;
  }
  if (id === undefined && lines > 1) {
    throw new UsageError(`${shown(file)} has ${lines} lines; tell which one with --request-id`);
  }
  if (found === undefined) {
    throw new UsageError(
      id === undefined ? `${shown(file)} has no line` : `${shown(file)} has no line with request_id ${id}`,
    );
  }
  return audited(found);
}

async function* linesOf(file: string, withOthers: boolean): AsyncGenerator<string> {
  for (const one of withOthers && file !== '-' ? filesOfWorkers(file) : [file]) {
    const input = one === '-' ? process.stdin : createReadStream(one);
    yield* createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  }
}

const shown = (file: string): string => (file === '-' ? 'stdin' : file);

function audited(line: string): Audited {
  const event = eventOf(line);
  if (!event)
    throw new UsageError('this is not an audit line; give one as `stubgate audit tail --json` prints it');
  const { scheme, host, port, method, path } = event;
  if (typeof host !== 'string' || typeof port !== 'number' || (scheme !== 'http' && scheme !== 'https')) {
    throw new UsageError('this line tells of no host: the request was refused before it was read');
  }
  const notes: string[] = [];
  const isConnect = method === 'CONNECT' || typeof method !== 'string';
  if (isConnect) notes.push('it is a CONNECT, explained as a GET in it');
  if (typeof path === 'string' && /\[stub\]|\[withheld\]|…$/.test(path)) {
    notes.push('the audit does not hold the whole path, so rules on paths may say something else');
  }
  const name = host.includes(':') ? `[${host}]` : host;
  return {
    method: isConnect ? 'GET' : method,
    url: `${scheme}://${name}:${port}${!isConnect && typeof path === 'string' && path !== '*' ? path : '/'}`,
    said: [event.verdict, event.reason, event.rule && `rule ${event.rule}`].filter(Boolean).join(' '),
    notes,
  };
}

function eventOf(line: string): Partial<AuditEvent> | undefined {
  try {
    const event: unknown = JSON.parse(line);
    return typeof event === 'object' && event !== null && 'request_id' in event
      ? (event as Partial<AuditEvent>)
      : undefined;
  } catch {
    return undefined;
  }
}
