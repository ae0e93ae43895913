import { createHash } from 'node:crypto';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { AuditLog } from '../../src/audit/log.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { auditEvent, tempFolder } from './event.ts';

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

function chain(ids: string[]): { file: string; lines: string[] } {
  const file = join(tempFolder(), 'audit.jsonl');
  const log = new AuditLog(file);
  for (const id of ids) log.write(auditEvent({ request_id: id }));
  log.close();
  return { file, lines: readFileSync(file, 'utf8').trimEnd().split('\n') };
}

it('finds nothing in an untouched file', async () => {
  const { file, lines } = chain(['a', 'b', 'c']);
  const last = sha256(lines[2] ?? '');
  expect(await verifyAudit([file])).toEqual({ lines: 3, chains: 1, last, findings: [] });
});

it('finds nothing in an empty file', async () => {
  const file = join(tempFolder(), 'audit.jsonl');
  writeFileSync(file, '');
  expect(await verifyAudit([file])).toEqual({ lines: 0, chains: 0, last: '0'.repeat(64), findings: [] });
});

type Edit = (lines: string[]) => string[];
const edits: [string, Edit, [string, number][]][] = [
  ['a changed line', l => l.map((x, i) => (i === 1 ? x.replace('200', '201') : x)), [['broken', 3]]],
  ['a missing line', l => l.filter((_, i) => i !== 2), [['broken', 3]]],
  ['several missing lines', l => [l[0] ?? '', l[4] ?? ''], [['broken', 2]]],
  ['a doubled line', l => [...l.slice(0, 2), l[1] ?? '', ...l.slice(2)], [['duplicate', 3]]],
  ['a line repeated later', l => [...l, l[1] ?? ''], [['duplicate', 6]]],
  [
    'swapped lines',
    l => [l[0], l[2], l[1], l[3], l[4]] as string[],
    [
      ['broken', 2],
      ['broken', 3],
      ['broken', 4],
    ],
  ],
  ['a line cut short', l => l.map((x, i) => (i === 2 ? x.slice(0, 50) : x)), [['changed', 3]]],
  ['an inserted line of something else', l => [...l.slice(0, 2), 'hello', ...l.slice(2)], [['changed', 3]]],
  ['an empty line', l => [...l.slice(0, 2), '', ...l.slice(2)], [['changed', 3]]],
  [
    'a forged chain start',
    l => l.map((x, i) => (i === 2 ? x.replace(/"prev":"\w+"/, `"prev":"${'0'.repeat(64)}"`) : x)),
    [
      ['broken', 3],
      ['broken', 4],
    ],
  ],
  [
    'carriage returns',
    l => l.map(x => `${x}\r`),
    [
      ['broken', 2],
      ['broken', 3],
      ['broken', 4],
      ['broken', 5],
    ],
  ],
];

it.each(edits)('finds %s', async (_, edit, findings) => {
  const { file, lines } = chain(['a', 'b', 'c', 'd', 'e']);
  writeFileSync(file, `${edit(lines).join('\n')}\n`);
  const verdict = await verifyAudit([file]);
  expect(verdict.findings.map(f => [f.kind, f.line])).toEqual(findings);
  expect(verdict.findings.every(f => f.file === file)).toBe(true);
});

it('finds a cut end', async () => {
  const { file, lines } = chain(['a', 'b']);
  writeFileSync(file, `${lines[0]}\n${lines[1]?.slice(0, 99)}`);
  expect((await verifyAudit([file])).findings).toMatchObject([{ kind: 'cut', line: 2 }]);
});

it('finds a change in what a crash left', async () => {
  const { file } = chain(['a', 'b']);
  appendFileSync(file, '{"time":"2026-01-01');
  const log = new AuditLog(file);
  log.write(auditEvent({ request_id: 'c' }));
  log.close();
  expect((await verifyAudit([file])).findings).toMatchObject([{ kind: 'cut', line: 3 }]);
  writeFileSync(file, readFileSync(file, 'utf8').replace('{"time":"2026-01-01\n', '{"time":"2026-01-02\n'));
  expect((await verifyAudit([file])).findings).toMatchObject([{ kind: 'changed', line: 3 }]);
});

it('needs the expected hash to find a truncated end', async () => {
  const { file, lines } = chain(['a', 'b', 'c']);
  const { last } = await verifyAudit([file]);
  writeFileSync(file, `${lines.slice(0, 2).join('\n')}\n`);
  expect((await verifyAudit([file])).findings).toEqual([]);
  expect((await verifyAudit([file], last)).findings).toMatchObject([{ kind: 'truncated' }]);
});

it('accepts an expected hash that newer lines have followed', async () => {
  const { file, lines } = chain(['a', 'b', 'c']);
  expect((await verifyAudit([file], sha256(lines[0] ?? ''))).findings).toEqual([]);
});

it('accepts a first file that continues an older one, and tells so', async () => {
  const { file, lines } = chain(['a', 'b', 'c']);
  writeFileSync(file, `${lines.slice(1).join('\n')}\n`);
  expect(await verifyAudit([file])).toMatchObject({ lines: 2, chains: 0, findings: [] });
});

it('accepts a file that starts a chain of its own, and counts it', async () => {
  const first = chain(['a', 'b']).file;
  const second = chain(['c']).file;
  expect(await verifyAudit([first, second])).toMatchObject({ lines: 3, chains: 2, findings: [] });
});

it('reads a chain over several files, and finds them in the wrong order', async () => {
  const { file, lines } = chain(['a', 'b', 'c', 'd', 'e', 'f']);
  const parts = [1, 2, 3].map(part => {
    writeFileSync(`${file}.${part}`, `${lines.slice(2 * part - 2, 2 * part).join('\n')}\n`);
    return `${file}.${part}`;
  });
  const [first = '', second = '', third = ''] = parts;
  expect(await verifyAudit(parts)).toMatchObject({ lines: 6, chains: 1, findings: [] });
  expect((await verifyAudit([first, third, second])).findings).toMatchObject([
    { kind: 'broken', file: third, line: 1 },
    { kind: 'broken', file: second, line: 1 },
  ]);
  expect((await verifyAudit([first, third])).findings).toMatchObject([
    { kind: 'broken', file: third, line: 1 },
  ]);
});

it('refuses a file that is no audit', async () => {
  const file = join(tempFolder(), 'zeros');
  writeFileSync(file, Buffer.alloc(3 << 20));
  await expect(verifyAudit([file])).rejects.toThrow(/longer than 1 MiB; this is not an audit file/);
});

it('reads lines that stand across chunks', async () => {
  const { file } = chain(Array.from({ length: 4000 }, (_, i) => `${i}`));
  expect(readFileSync(file).length).toBeGreaterThan(2 << 20);
  expect(await verifyAudit([file])).toMatchObject({ lines: 4000, findings: [] });
});
