import { appendFileSync, readFileSync, renameSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { formatAuditLine, tailAudit } from '../../src/audit/tail.ts';
import { auditEvent, tempFolder } from './event.ts';

async function collect(file: string, count: number): Promise<string[]> {
  const lines: string[] = [];
  const signal = new AbortController().signal;
  for await (const line of tailAudit({ files: () => [file], lines: count, follow: false, signal }))
    lines.push(line);
  return lines;
}

describe('the last lines', () => {
  it.each([
    [0, []],
    [1, ['c']],
    [2, ['b', 'c']],
    [9, ['a', 'b', 'c']],
  ])('gives %i', async (count, expected) => {
    const file = join(tempFolder(), 'audit.jsonl');
    writeFileSync(file, 'a\nb\nc\nunfinis');
    expect(await collect(file, count)).toEqual(expected);
  });

  it('reads back as far as it must', async () => {
    const file = join(tempFolder(), 'audit.jsonl');
    const all = Array.from({ length: 5000 }, (_, i) => `${i}`.padEnd(100, '.'));
    writeFileSync(file, `${all.join('\n')}\n`);
    expect(await collect(file, 4000)).toEqual(all.slice(-4000));
  });
});

describe('following', () => {
  function follow(file: string) {
    const stop = new AbortController();
    onTestFinished(() => stop.abort());
    const lines = tailAudit({
      files: () => [file],
      lines: 1,
      follow: true,
      signal: stop.signal,
      interval: 5,
    });
    return { stop, next: async () => (await lines.next()).value as string | undefined };
  }

  it('gives what is appended, in whole lines', async () => {
    const file = join(tempFolder(), 'audit.jsonl');
    writeFileSync(file, 'a\nhal');
    const { next, stop } = follow(file);
    expect(await next()).toBe('a');
    const pending = next();
    appendFileSync(file, 'f\nb\n');
    expect(await pending).toBe('half');
    expect(await next()).toBe('b');
    const end = next();
    stop.abort();
    expect(await end).toBeUndefined();
  });

  it('goes on in the file that a rotation put in place', async () => {
    const file = join(tempFolder(), 'audit.jsonl');
    writeFileSync(file, 'a\n');
    const { next } = follow(file);
    expect(await next()).toBe('a');
    appendFileSync(file, 'b\n');
    renameSync(file, `${file}.1`);
    appendFileSync(`${file}.1`, 'c\n');
    writeFileSync(file, 'd\n');
    expect([await next(), await next(), await next()]).toEqual(['b', 'c', 'd']);
  });

  it('starts over in a file that was copied and truncated', async () => {
    const file = join(tempFolder(), 'audit.jsonl');
    writeFileSync(file, 'aaaaaaaa\n');
    const { next } = follow(file);
    expect(await next()).toBe('aaaaaaaa');
    truncateSync(file, 0);
    appendFileSync(file, 'b\n');
    expect(await next()).toBe('b');
  });
});

describe('a line for people', () => {
  it('names verdict, request, rule, reason and injections', () => {
    const line = formatAuditLine(
      JSON.stringify(auditEvent({ reason: 'upstream_timeout', status: 504 })),
      false,
    );
    expect(line).toBe(
      '2026-01-02T03:04:05.678Z allow 504 GET https://api.github.test:443/user rule=github-api ' +
        'reason=upstream_timeout injected=github→header authorization session=s-1 sub=alice ms=12.3',
    );
  });

  it('is coloured by verdict', () => {
    expect(formatAuditLine(JSON.stringify(auditEvent({ verdict: 'deny' })), true)).toContain(
      '\x1b[31mdeny\x1b[0m',
    );
  });

  it.each(['\u001b[2J', '\u009b2J', '\u202e', '\u2028', '\r'])('never passes %j on to a terminal', text => {
    const event = JSON.stringify(auditEvent({ path: `/${text}`, sub: text, rule: text }));
    expect(formatAuditLine(event, false)).not.toContain(text);
    expect(formatAuditLine(`not json ${text}`, false)).not.toContain(text);
  });

  it.each(['', 'null', '7', '{"time":', '{}', '{"time":"x"}'])('marks what is no event: %s', text => {
    expect(formatAuditLine(text, false)).toBe(`?? ${text}`);
  });
});

it('reads the file it is given only', async () => {
  const file = join(tempFolder(), 'missing');
  await expect(collect(file, 1)).rejects.toThrow(/ENOENT/);
  expect(() => readFileSync(file)).toThrow();
});
