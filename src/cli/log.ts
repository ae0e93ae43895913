import { printable } from '../audit/printable.ts';
import type { Log } from '../types.ts';

export const LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type Level = (typeof LEVELS)[number];

const COLOURS: Readonly<Record<Level, number>> = { debug: 90, info: 36, warn: 33, error: 31 };

type Fields = Readonly<Record<string, unknown>>;

/** The log, on a stream: text for a terminal, JSON lines for a program. A Secret prints as its name. */
export function createLog(stream: NodeJS.WriteStream, least: Level): Log {
  const format = stream.isTTY ? asText : asJson;
  const writer = (level: Level) => {
    if (LEVELS.indexOf(level) < LEVELS.indexOf(least)) return () => {};
    return (message: string, fields: Fields = {}) => void stream.write(`${format(level, message, fields)}\n`);
  };
  return { debug: writer('debug'), info: writer('info'), warn: writer('warn'), error: writer('error') };
}

function asText(level: Level, message: string, fields: Fields): string {
  const told = Object.entries(fields).map(([name, value]) => {
    const text = typeof value === 'string' ? value : toJson(value);
    return ` \x1b[2m${name}=\x1b[0m${printable(text)}`;
  });
  const time = new Date().toISOString().slice(11, 19);
  return `\x1b[2m${time}\x1b[0m \x1b[${COLOURS[level]}m${level.padEnd(5)}\x1b[0m ${printable(message)}${told.join('')}`;
}

function asJson(level: Level, message: string, fields: Fields): string {
  return toJson({ time: new Date().toISOString(), level, message, ...fields });
}

function toJson(value: unknown): string {
  return (
    JSON.stringify(value, (_, part: unknown) => (part instanceof Error ? errorText(part) : part)) ??
    'undefined'
  );
}

/** Message and code. Not the stack, and no cause further down: what libraries put there may hold a secret. */
export function errorText(error: Error): string {
  const { code } = error as NodeJS.ErrnoException;
  return code === undefined || error.message.includes(code) ? error.message : `${error.message} (${code})`;
}
