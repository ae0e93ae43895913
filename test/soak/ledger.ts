import { execFile } from 'node:child_process';
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Findings } from './windows.ts';

const run = promisify(execFile);
const MAIN = join(import.meta.dirname, '../../dist/main.js');
const AUDIT = /^audit(?:\.w\d+)?\.jsonl$/;
/** Of one file of the audit; then it is put aside, as a log rotation does. */
const FILE_BYTES = 256 * 1024 * 1024;

/** Number of a request, in a path or a host name that no other request has. */
const NUMBER = /"host":"d(\d+)\.denied\.test"|"path":"\/(?:s\/[a-z0-9]+|forbidden)\/(\d+)/;

/** What each request must leave in the audit, and what stands there. */
export class Ledger {
  /** By number: 0 unknown to us, 1 at most one line, 2 exactly one; 4 is added once there is one. */
  #state = new Uint8Array(1 << 16);
  #next = 1;
  lines = 0;
  /** CONNECTs that got a refusal, and those that got no answer; their lines hold no number. */
  refused = 0;
  unanswered = 0;
  #refusedLines = 0;
  readonly #reasons = new Map<string, number>();
  readonly #dir: string;
  readonly #findings: Findings;
  readonly #files = new Map<string, AuditFile>();

  /** `dir`: where the audit's files are, one for each process that writes at a time. */
  constructor(dir: string, findings: Findings) {
    this.#dir = dir;
    this.#findings = findings;
  }

  /** Of the refused CONNECTs in the audit. */
  get reasons(): string {
    return [...this.#reasons].map(([reason, count]) => `${reason} ${count}`).join(', ');
  }

  /** Number of a request that is about to be sent: it may leave a line. */
  begin(): string {
    const number = this.#next++;
    if (number >= this.#state.length) {
      const grown = new Uint8Array(this.#state.length * 2);
      grown.set(this.#state);
      this.#state = grown;
    }
    this.#state[number] = 1;
    return `${number}`;
  }

  /** It was answered: it must leave a line. */
  answered(id: string): void {
    const number = Number(id);
    this.#state[number] = (this.#state[number] ?? 0) | 2;
  }

  /** Reads what was written since the last time. */
  read(): void {
    for (const name of readdirSync(this.#dir)) {
      if (!AUDIT.test(name)) continue;
      const file = this.#files.get(name) ?? new AuditFile(join(this.#dir, name), this.#findings);
      this.#files.set(name, file);
      file.read(line => this.#line(line));
    }
  }

  #line(line: string): void {
    this.lines++;
    if (line.includes('"method":"CONNECT"')) {
      this.#refusedLines++;
      const reason = /"reason":"?(\w+)/.exec(line)?.[1] ?? '';
      this.#reasons.set(reason, (this.#reasons.get(reason) ?? 0) + 1);
      return;
    }
    const found = NUMBER.exec(line);
    const number = Number(found?.[1] ?? found?.[2] ?? 0);
    if (number === 0) return this.#findings.add('an audit line of no request', line);
    const state = this.#state[number] ?? 0;
    if (state === 0) this.#findings.add('an audit line of a request that was not sent', line);
    if ((state & 4) !== 0) this.#findings.add('a second audit line of one request', line);
    this.#state[number] = state | 4;
  }

  /** Puts large files aside and verifies them; `reopen` tells the gate. */
  async rotate(reopen: () => void): Promise<void> {
    for (const file of this.#files.values()) await file.rotate(reopen, line => this.#line(line));
  }

  /** All that can only be told once everything is over. */
  async end(): Promise<void> {
    this.read();
    for (let number = 1; number < this.#next; number++)
      if (this.#state[number] === 3)
        this.#findings.add('an answered request without audit line', `${number}`);
    const lines = this.#refusedLines;
    if (lines < this.refused || lines > this.refused + this.unanswered)
      this.#findings.add(
        'refused CONNECTs and their audit lines differ',
        `${lines} lines, ${this.refused} refusals, ${this.unanswered} without an answer`,
      );
    for (const file of this.#files.values()) await file.end();
  }
}

/** One file of the audit, and those that were put aside: one chain. */
class AuditFile {
  readonly #file: string;
  readonly #findings: Findings;
  #fd: number | undefined;
  #rest = '';
  /** The last line's hash in the file that was put aside last. */
  #last: string | undefined;
  #rotations = 0;

  constructor(file: string, findings: Findings) {
    this.#file = file;
    this.#findings = findings;
  }

  /** Gives each line that was written since the last time. */
  read(onLine: (line: string) => void): void {
    if (this.#fd === undefined && existsSync(this.#file)) this.#fd = openSync(this.#file, 'r');
    if (this.#fd === undefined) return;
    const chunk = Buffer.alloc(1 << 20);
    for (;;) {
      const count = readSync(this.#fd, chunk);
      if (count === 0) return;
      const lines = (this.#rest + chunk.toString('latin1', 0, count)).split('\n');
      this.#rest = lines.pop() ?? '';
      for (const line of lines) onLine(line);
    }
  }

  async rotate(reopen: () => void, onLine: (line: string) => void): Promise<void> {
    if (!existsSync(this.#file) || statSync(this.#file).size < FILE_BYTES) return;
    const aside = `${this.#file}.${++this.#rotations}`;
    renameSync(this.#file, aside);
    reopen();
    for (let tries = 0; !existsSync(this.#file); tries++) {
      if (tries > 500) return this.#findings.add('the audit was not reopened', aside);
      await delay(10);
    }
    this.read(onLine);
    this.#close();
    await this.#verify(aside);
    rmSync(aside);
  }

  async end(): Promise<void> {
    this.#close();
    if (this.#rest !== '') this.#findings.add('the last audit line is cut', this.#rest);
    await this.#verify(this.#file);
  }

  #close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** With the product's own tool, while the load goes on; the files of one run are one chain. */
  async #verify(file: string): Promise<void> {
    const args = [MAIN, 'audit', 'verify', '--json', file];
    const verified = await run(process.execPath, args, { maxBuffer: 1 << 26 }).catch(
      (error: { stdout: string }) => ({ stdout: error.stdout, failed: true }),
    );
    const { stdout } = verified;
    if ('failed' in verified) return this.#findings.add('the audit does not verify', `${file}: ${stdout}`);
    const { last } = JSON.parse(stdout) as { last: string };
    const first = Buffer.alloc(1 << 16);
    const fd = openSync(file, 'r');
    const text = first.toString('latin1', 0, readSync(fd, first));
    closeSync(fd);
    const prev = /"prev":"([0-9a-f]{64})"/.exec(text)?.[1];
    if (this.#last !== undefined && prev !== this.#last)
      this.#findings.add('a file of the audit does not continue the one before', file);
    this.#last = last;
  }
}
