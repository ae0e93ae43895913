import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { fileOfWorker, filesOfWorkers } from '../../src/audit/files.ts';
import { AuditLog } from '../../src/audit/log.ts';
import { tailAudit } from '../../src/audit/tail.ts';
import { verifyAudit, verifyChains } from '../../src/audit/verify.ts';
import { findAudited } from '../../src/cli/explain-audit.ts';
import { quickly } from '../cli/stubgate.ts';
import { auditEvent, tempFolder } from './event.ts';

describe('the files of several processes', () => {
  it.each([
    ['/a/audit.jsonl', 1, '/a/audit.jsonl'],
    ['/a/audit.jsonl', 2, '/a/audit.w2.jsonl'],
    ['/a/audit.jsonl', 12, '/a/audit.w12.jsonl'],
    ['/a.b/audit', 3, '/a.b/audit.w3'],
    ['/a/my.audit.log', 2, '/a/my.audit.w2.log'],
  ])('%s of worker %i is %s', (file, worker, name) => {
    expect(fileOfWorker(file, worker)).toBe(name);
  });

  it('are found by their names alone, in the order of their numbers', () => {
    const dir = tempFolder();
    const names = ['audit.w10.jsonl', 'audit.w2.jsonl', 'audit.w2.jsonl.lock', 'audit.w2.jsonl.1'];
    for (const name of [...names, 'audit.w1.jsonl', 'audit.w02.jsonl', 'audit.wx.jsonl', 'audit.w3.json'])
      writeFileSync(join(dir, name), '');
    const file = join(dir, 'audit.jsonl');
    expect(filesOfWorkers(file)).toEqual([file, join(dir, 'audit.w2.jsonl'), join(dir, 'audit.w10.jsonl')]);
    expect(filesOfWorkers(join(dir, 'nowhere', 'audit.jsonl'))).toHaveLength(1);
  });
});

/** Two files with lines by turns; the request ids say in which order. */
function written(): { file: string; second: string } {
  const file = join(tempFolder(), 'audit.jsonl');
  const second = fileOfWorker(file, 2);
  const logs = [new AuditLog(file), new AuditLog(second)];
  for (let i = 0; i < 6; i++)
    logs[i % 2]?.write(auditEvent({ request_id: `r${i}`, time: `2026-01-02T03:04:0${i}.000Z` }));
  for (const log of logs) log.close();
  return { file, second };
}

const idOf = (line: string): string => (JSON.parse(line) as { request_id: string }).request_id;

it('each file is a chain of its own: a line that is gone is found in its file', async () => {
  const { file, second } = written();
  expect(await verifyChains([file, second])).toMatchObject({ lines: 6, chains: 2, findings: [] });
  const lines = readFileSync(second, 'utf8').split('\n');
  writeFileSync(second, [lines[0], lines[2], ''].join('\n'));
  expect((await verifyChains([file, second])).findings).toMatchObject([
    { file: second, line: 2, kind: 'broken' },
  ]);
});

it('an expected hash is that of a line in any of them', async () => {
  const { file, second } = written();
  const { last } = await verifyAudit([second]);
  expect((await verifyChains([file, second], last)).findings).toEqual([]);
  expect((await verifyChains([file, second], 'a'.repeat(64))).findings).toMatchObject([
    { kind: 'truncated' },
  ]);
});

it('the last lines are those of all files by their time, and what follows comes from all, new ones too', async () => {
  const { file, second } = written();
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  const files = () => filesOfWorkers(file);
  const lines = tailAudit({ files, lines: 3, follow: true, signal: stop.signal, interval: 5 });
  const next = async (): Promise<string> => idOf((await lines.next()).value as string);
  expect([await next(), await next(), await next()]).toEqual(['r3', 'r4', 'r5']);
  appendFileSync(second, '{"request_id":"more"}\n');
  expect(await next()).toBe('more');
  writeFileSync(fileOfWorker(file, 3), '{"request_id":"new"}\n');
  expect(await next()).toBe('new');
});

it('a request is found in whichever file has its line', async () => {
  const { file } = written();
  await expect(findAudited(file, 'r3')).resolves.toMatchObject({ method: 'GET' });
  await expect(findAudited(file, 'r9')).rejects.toThrow('no line with request_id r9');
});

it('the command line reads all of them where no file is named', async () => {
  const { file } = written();
  const cwd = join(file, '..');
  writeFileSync(join(cwd, 'stubgate.yaml'), 'version: 1\n');
  const { code, stdout } = await quickly(cwd, 'audit', 'verify');
  expect([code, stdout]).toEqual([
    0,
    expect.stringMatching(/audit\.jsonl: 3 lines, one chain.*\n.*audit\.w2\.jsonl: 3 lines, one chain/s),
  ]);
  expect(JSON.parse((await quickly(cwd, 'audit', 'verify', '--json')).stdout)).toMatchObject({
    lines: 6,
    files: { [file]: { lines: 3 } },
  });
  expect(
    (await quickly(cwd, 'audit', 'tail', '-n', '2', '--json')).stdout.trim().split('\n').map(idOf),
  ).toEqual(['r4', 'r5']);
});
