import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, extname, join } from 'node:path';

/** The file of one of several processes, each of which writes a chain of its own: `audit.jsonl`, `audit.w2.jsonl`, … */
export function fileOfWorker(file: string, worker: number): string {
  return worker === 1 ? file : `${stemOf(file)}.w${worker}${extname(file)}`;
}

/** `file`, and those of further processes that are there. */
export function filesOfWorkers(file: string): string[] {
  const [start, end] = [`${basename(stemOf(file))}.w`, extname(file)];
  const names = existsSync(dirname(file)) ? readdirSync(dirname(file)) : [];
  const workers = names
    .filter(name => name.startsWith(start) && name.endsWith(end))
    .map(name => name.slice(start.length, end === '' ? undefined : -end.length))
    .filter(number => /^[1-9]\d*$/.test(number) && number !== '1')
    .map(Number)
    .toSorted((a, b) => a - b);
  return [file, ...workers.map(worker => fileOfWorker(file, worker))];
}

const stemOf = (file: string): string => join(dirname(file), basename(file, extname(file)));
