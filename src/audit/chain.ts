import { Buffer } from 'node:buffer';
import { hash } from 'node:crypto';

/**
 * The audit's chain. The *head* after a line is what the next line carries as `prev`:
 * after a complete line, the SHA-256 of its bytes without the newline; after a cut line, which carries no `prev` of
 * its own, the SHA-256 of `<head before it>\n<its bytes>`, so that the next line vouches for both.
 * Lower-case hex, 64 characters.
 */
export const CHAIN_START = '0'.repeat(64);

export const NEWLINE = 10;

/** Bytes above which a line cannot be the audit's own. */
export const LINE_LIMIT = 1 << 20;

export const headAfter = (line: string | Buffer): string => hash('sha256', line);

export const headAfterCut = (head: string, line: Buffer): string =>
  hash('sha256', Buffer.concat([Buffer.from(`${head}\n`), line]));

/** The `prev` of a complete line; undefined for any other line. */
export function prevOf(line: Buffer): string | undefined {
  try {
    const { prev } = JSON.parse(line.toString('utf8')) as { prev?: unknown };
    return typeof prev === 'string' && /^[0-9a-f]{64}$/.test(prev) ? prev : undefined;
  } catch {
    return undefined;
  }
}

/** The lines of `bytes`, without their newlines; what follows the last newline is a line unless it is empty. */
export function splitLines(bytes: Buffer): Buffer[] {
  const lines: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(NEWLINE, at);
    const stop = end < 0 ? bytes.length : end;
    lines.push(bytes.subarray(at, stop));
    at = stop + 1;
  }
  return lines;
}
