import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { AuditLog } from '../../src/audit/log.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { auditEvent, tempFolder } from './event.ts';

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
const lines = (file: string) => readFileSync(file, 'utf8').split('\n').slice(0, -1);
const parsed = (line: string | undefined) => JSON.parse(line ?? '') as Record<string, unknown>;

function openLog(file: string): AuditLog {
  const log = new AuditLog(file);
  onTestFinished(() => log.close());
  return log;
}

const FIELDS =
  'time request_id session sub act labels rule verdict reason scheme host port method path status injected ' +
  'scrubbed stubs_seen bytes_in bytes_out duration_ms ttfb_ms trace_id prev';

describe('a line', () => {
  it('has the contract’s fields in its order', () => {
    const file = join(tempFolder(), 'audit.jsonl');
    openLog(file).write(auditEvent());
    expect(Object.keys(parsed(lines(file)[0])).join(' ')).toBe(FIELDS);
    expect(parsed(lines(file)[0])).toMatchObject({ ...auditEvent() });
  });

  it('carries the hash of the line before, the first one zeros', () => {
    const file = join(tempFolder(), 'audit.jsonl');
    const log = openLog(file);
    log.write(auditEvent({ request_id: 'a' }));
    log.write(auditEvent({ request_id: 'b' }));
    const [first, second] = lines(file);
    expect(parsed(first)['prev']).toBe('0'.repeat(64));
    expect(parsed(second)['prev']).toBe(sha256(first ?? ''));
  });

  it.each([
    '\r\n{"forged":1}',
    '\u2028',
    '\u2029',
    '\u0000',
    '\u001b[2J',
    '\u009b2J',
    '\u202e',
    '\u007f',
    'é😀',
  ])('is one line of printable ASCII whatever a field holds: %j', text => {
    const file = join(tempFolder(), 'audit.jsonl');
    openLog(file).write(auditEvent({ path: `/${text}`, labels: { [text]: text }, sub: text }));
    const bytes = readFileSync(file, 'latin1');
    expect(bytes.indexOf('\n')).toBe(bytes.length - 1);
    if (text !== '\u007f') expect(bytes).toMatch(/^[\x20-\x7e]*\n$/);
    expect(parsed(bytes)).toMatchObject({ path: `/${text}`, labels: { [text]: text }, sub: text });
  });

  it('cuts the fields that the sandbox chooses at 2048 characters', () => {
    const file = join(tempFolder(), 'audit.jsonl');
    openLog(file).write(
      auditEvent({ path: '/'.repeat(5000), host: 'h'.repeat(2048), method: 'M'.repeat(2049) }),
    );
    const line = parsed(lines(file)[0]);
    expect(line['path']).toBe(`${'/'.repeat(2048)}…`);
    expect(line['host']).toBe('h'.repeat(2048));
    expect(line['method']).toBe(`${'M'.repeat(2048)}…`);
  });
});

describe('the file', () => {
  it('is private and made with its folders', () => {
    const file = join(tempFolder(), 'a', 'b', 'audit.jsonl');
    openLog(file);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(statSync(join(file, '..')).mode & 0o777).toBe(0o700);
  });

  it('is continued after a restart', async () => {
    const file = join(tempFolder(), 'audit.jsonl');
    for (let i = 0; i < 3; i++) {
      const log = new AuditLog(file);
      log.write(auditEvent());
      log.close();
    }
    expect(await verifyAudit([file])).toMatchObject({ lines: 3, chains: 1, findings: [] });
  });

  it('is continued from its tail when it is large', async () => {
    const file = join(tempFolder(), 'audit.jsonl');
    const log = new AuditLog(file);
    for (let i = 0; i < 8000; i++) log.write(auditEvent({ request_id: `${i}` }));
    log.close();
    expect(statSync(file).size).toBeGreaterThan(4 << 20);
    openLog(file).write(auditEvent());
    expect(await verifyAudit([file])).toMatchObject({ lines: 8001, findings: [] });
  });

  it('is refused when it ends in something else than an audit', () => {
    const file = join(tempFolder(), 'audit.jsonl');
    writeFileSync(file, `${'x'.repeat(1000)}\n`.repeat(3000));
    expect(() => new AuditLog(file)).toThrow(/does not end in audit lines; move it away/);
    expect(existsSync(`${file}.lock`)).toBe(false);
  });

  it.each([1, 20, 300])('shows a line that a crash cut %i bytes early, once, and goes on', async bytes => {
    const file = join(tempFolder(), 'audit.jsonl');
    const log = new AuditLog(file);
    for (const id of ['a', 'b', 'c']) log.write(auditEvent({ request_id: id }));
    log.close();
    truncateSync(file, statSync(file).size - 1 - bytes);
    const next = openLog(file);
    next.write(auditEvent({ request_id: 'd' }));
    next.write(auditEvent({ request_id: 'e' }));
    const verdict = await verifyAudit([file]);
    expect(verdict.lines).toBe(4);
    expect(verdict.findings).toMatchObject([{ kind: 'cut', line: 3 }]);
  });

  it('goes on after several cut lines', async () => {
    const file = join(tempFolder(), 'audit.jsonl');
    new AuditLog(file).close();
    appendFileSync(file, '{"time":"2026');
    new AuditLog(file).close();
    appendFileSync(file, '{"ti');
    openLog(file).write(auditEvent());
    expect((await verifyAudit([file])).findings).toMatchObject([
      { kind: 'cut', line: 1 },
      { kind: 'cut', line: 2 },
    ]);
  });

  it('completes a line that lacks only its newline', async () => {
    const file = join(tempFolder(), 'audit.jsonl');
    const log = new AuditLog(file);
    log.write(auditEvent());
    log.close();
    truncateSync(file, statSync(file).size - 1);
    openLog(file).write(auditEvent());
    expect(await verifyAudit([file])).toMatchObject({ lines: 2, findings: [] });
  });

  it('takes a label named prev for what it is', async () => {
    const file = join(tempFolder(), 'audit.jsonl');
    const log = new AuditLog(file);
    log.write(auditEvent({ labels: { prev: 'a'.repeat(64) } }));
    log.close();
    const text = readFileSync(file, 'utf8');
    writeFileSync(file, text + text.slice(0, text.indexOf('}') + 1));
    openLog(file).write(auditEvent({ request_id: 'next' }));
    expect((await verifyAudit([file])).findings).toMatchObject([{ kind: 'cut', line: 2 }]);
  });
});

describe('rotation', () => {
  it('continues the chain in the new file', async () => {
    const file = join(tempFolder(), 'audit.jsonl');
    const log = openLog(file);
    log.write(auditEvent({ request_id: 'a' }));
    renameSync(file, `${file}.1`);
    log.write(auditEvent({ request_id: 'b' }));
    log.reopen();
    log.write(auditEvent({ request_id: 'c' }));
    expect([lines(`${file}.1`).length, lines(file).length]).toEqual([2, 1]);
    expect(await verifyAudit([`${file}.1`, file])).toMatchObject({ lines: 3, chains: 1, findings: [] });
  });

  it('changes nothing when the file has not moved', async () => {
    const file = join(tempFolder(), 'audit.jsonl');
    const log = openLog(file);
    log.write(auditEvent());
    log.reopen();
    log.write(auditEvent({ request_id: 'b' }));
    expect(await verifyAudit([file])).toMatchObject({ lines: 2, findings: [] });
  });

  it('refuses events when the name cannot be opened', () => {
    const folder = join(tempFolder(), 'sub');
    const file = join(folder, 'audit.jsonl');
    const log = openLog(file);
    rmSync(folder, { recursive: true });
    log.reopen();
    expect(log.healthy).toBe(false);
    expect(() => log.write(auditEvent())).toThrow(expect.objectContaining({ code: 'audit_unavailable' }));
  });
});

describe('one writer', () => {
  it('refuses a second log on the same file in this process', () => {
    const file = join(tempFolder(), 'audit.jsonl');
    openLog(file);
    expect(() => new AuditLog(file)).toThrow(/writes this audit file already .*audit file of its own/);
  });

  it('refuses a second process while the first lives, and takes the file over when it was killed', async () => {
    const file = join(tempFolder(), 'audit.jsonl');
    const module = new URL('../../src/audit/log.ts', import.meta.url).href;
    const code = `const { AuditLog } = await import(${JSON.stringify(module)});
      new AuditLog(process.argv[1]).write(${JSON.stringify(auditEvent())});
      process.stdout.write('open'); setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', code, file], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    await once(child.stdout, 'data');
    expect(() => new AuditLog(file)).toThrow(new RegExp(`process ${child.pid} writes`));
    child.kill('SIGKILL');
    await once(child, 'exit');
    openLog(file).write(auditEvent({ request_id: 'after' }));
    expect(await verifyAudit([file])).toMatchObject({ lines: 2, findings: [] });
  });

  it.each([
    ['a process that is gone', `${2 ** 22 + 1} 123\n`],
    ['an earlier process with this id', `${process.pid} 1\n`],
    ['another process with a used id', '1 99999999999\n'],
    ['nobody', ''],
    ['nonsense', 'x'],
  ])('takes over the lock of %s', (_, content) => {
    const file = join(tempFolder(), 'audit.jsonl');
    writeFileSync(`${file}.lock`, content);
    openLog(file);
    expect(readFileSync(`${file}.lock`, 'utf8')).toMatch(new RegExp(`^${process.pid} `));
  });

  it('gives the lock back', () => {
    const file = join(tempFolder(), 'audit.jsonl');
    new AuditLog(file).close();
    expect(existsSync(`${file}.lock`)).toBe(false);
  });
});

describe('a file that cannot be written', () => {
  const unavailable = expect.objectContaining({ code: 'audit_unavailable' });

  /** A log whose file is full, behind a name that can be turned to a file with room. */
  function fullDisk() {
    const folder = tempFolder();
    const name = join(folder, 'audit.jsonl');
    symlinkSync('/dev/full', name);
    const log = openLog(name);
    return {
      log,
      free: () => {
        rmSync(name);
        return name;
      },
    };
  }

  it('refuses the event of a full disk, and every request after it', () => {
    const { log } = fullDisk();
    expect(log.healthy).toBe(true);
    log.assertWritable();
    expect(() => log.write(auditEvent())).toThrow(unavailable);
    expect(log.healthy).toBe(false);
    expect(() => log.assertWritable()).toThrow(unavailable);
  });

  it('keeps the cause for the log', () => {
    const { log } = fullDisk();
    expect(() => log.write(auditEvent())).toThrow(
      expect.objectContaining({ cause: expect.objectContaining({ code: 'ENOSPC' }) }),
    );
    expect(() => log.assertWritable()).toThrow(
      expect.objectContaining({ cause: expect.objectContaining({ code: 'ENOSPC' }) }),
    );
  });

  it('tries again at most once a second, and writes what it kept first', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    onTestFinished(() => void vi.useRealTimers());
    const { log, free } = fullDisk();
    expect(() => log.write(auditEvent({ request_id: 'kept-1' }))).toThrow(unavailable);
    expect(() => log.write(auditEvent({ request_id: 'kept-2' }))).toThrow(unavailable);
    const file = free();
    expect(() => log.assertWritable()).toThrow(unavailable);
    vi.advanceTimersByTime(1001);
    log.assertWritable();
    log.write(auditEvent({ request_id: 'new' }));
    expect(lines(file).map(line => parsed(line)['request_id'])).toEqual(['kept-1', 'kept-2', 'new']);
    expect(await verifyAudit([file])).toMatchObject({ chains: 1, findings: [] });
    expect(log.lost).toBe(0);
  });

  it('stays unavailable while the disk stays full', () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    onTestFinished(() => void vi.useRealTimers());
    const { log } = fullDisk();
    expect(() => log.write(auditEvent())).toThrow(unavailable);
    vi.advanceTimersByTime(1001);
    expect(() => log.assertWritable()).toThrow(unavailable);
  });

  it('counts what it can no longer keep', () => {
    const { log } = fullDisk();
    for (let i = 0; i < 10_003; i++) expect(() => log.write(auditEvent())).toThrow(unavailable);
    expect(log.lost).toBe(3);
  });

  it('notices within a second that the file was deleted', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    onTestFinished(() => void vi.useRealTimers());
    const file = join(tempFolder(), 'audit.jsonl');
    const log = openLog(file);
    log.write(auditEvent());
    rmSync(file);
    vi.advanceTimersByTime(1001);
    log.assertWritable();
    log.write(auditEvent());
    expect(lines(file)).toHaveLength(1);
  });

  // A file size limit (RLIMIT_FSIZE) makes the kernel take half a line: a short write, then EFBIG.
  it('takes back the half of a line that still fitted', async () => {
    const file = join(tempFolder(), 'audit.jsonl');
    const module = new URL('../../src/audit/log.ts', import.meta.url).href;
    const code = `process.on('SIGXFSZ', () => {});
      const { AuditLog } = await import(${JSON.stringify(module)});
      const log = new AuditLog(process.argv[1]);
      let written = 0;
      try { for (;;) { log.write(${JSON.stringify(auditEvent())}); written++; } }
      catch (error) { process.stdout.write(written + ' ' + error.code + ' ' + error.cause.code); }
      log.close();`;
    const limited = `ulimit -f 2; exec "$0" --input-type=module -e "$1" "$2"`;
    const { stdout } = spawnSync('bash', ['-c', limited, process.execPath, code, file], { encoding: 'utf8' });
    const size = lines(file)[0]?.length ?? 0;
    expect(stdout).toBe(`${Math.floor(2048 / (size + 1))} audit_unavailable EFBIG`);
    expect(await verifyAudit([file])).toMatchObject({ lines: Math.floor(2048 / (size + 1)), findings: [] });
  });

  it('is told of at the start', () => {
    const folder = join(tempFolder(), 'file');
    writeFileSync(folder, '');
    expect(() => new AuditLog(join(folder, 'audit.jsonl'))).toThrow(/ENOTDIR|EEXIST/);
    const closed = join(tempFolder(), 'closed');
    mkdirSync(closed);
    chmodSync(closed, 0o500);
    // Root may write anywhere.
    if (process.getuid?.() !== 0) expect(() => new AuditLog(join(closed, 'a.jsonl'))).toThrow(/EACCES/);
  });
});

it('loses no event that `write` returned from when the process is killed', async () => {
  const file = join(tempFolder(), 'audit.jsonl');
  const module = new URL('../../src/audit/log.ts', import.meta.url).href;
  const code = `const { AuditLog } = await import(${JSON.stringify(module)});
    const log = new AuditLog(process.argv[1]);
    for (let i = 0; i < 500; i++) log.write(${JSON.stringify(auditEvent())});
    process.kill(process.pid, 'SIGKILL');`;
  const { signal } = spawnSync(process.execPath, ['--input-type=module', '-e', code, file]);
  expect(signal).toBe('SIGKILL');
  expect(await verifyAudit([file])).toMatchObject({ lines: 500, findings: [] });
});
