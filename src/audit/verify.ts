import { Buffer } from 'node:buffer';
import { createReadStream } from 'node:fs';
import { CHAIN_START, headAfter, headAfterCut, LINE_LIMIT, NEWLINE, prevOf } from './chain.ts';

export interface AuditFinding {
  file: string;
  /** 1-based; 0 for the chain as a whole. */
  line: number;
  /**
   * `broken`: the line before was changed, or lines between are missing (a chain of hashes cannot tell which);
   * `cut`: a crash ended the line early, and the line after it vouches for what is left;
   * `changed`: not an audit line, and the line after it does not vouch for it;
   * `duplicate`: stands twice; `truncated`: the expected hash is nowhere, so the end is missing.
   */
  kind: 'broken' | 'cut' | 'changed' | 'duplicate' | 'truncated';
  message: string;
}

export interface AuditVerdict {
  /** Complete lines read. */
  lines: number;
  /** Times that a chain starts afresh: 0 when the first file continues an older one. */
  chains: number;
  /** The chain's head: keep it elsewhere, and give it to `--expect` later. */
  last: string;
  findings: AuditFinding[];
}

/** Duplicates are found this many lines back. */
const WINDOW = 65_536;

/** Reads the files, oldest first, as one chain, in bounded memory. `expect`: a head that must be among the lines. */
export async function verifyAudit(files: readonly string[], expect?: string): Promise<AuditVerdict> {
  const check = new ChainCheck(expect);
  for (const file of files) {
    let line = 0;
    for await (const bytes of readLines(file)) check.line(bytes, file, ++line);
  }
  return check.end(files.at(-1) ?? '');
}

/**
 * Files of several processes, each a chain of its own. `last` is that of the first; `expect` must be among the lines of one
 * of them.
 */
export async function verifyChains(
  files: readonly string[],
  expect?: string,
): Promise<AuditVerdict & { readonly files?: Readonly<Record<string, AuditVerdict>> }> {
  if (files.length === 1) return verifyAudit(files, expect);
  const verdicts: [string, AuditVerdict][] = [];
  for (const file of files) verdicts.push([file, await verifyAudit([file], expect)]);
  const all = verdicts.map(([, verdict]) => verdict);
  const isTruncated = ({ kind }: AuditFinding): boolean => kind === 'truncated';
  const isMet = all.some(({ findings }) => !findings.some(isTruncated));
  for (const [i, verdict] of all.entries())
    if (isMet || i > 0) verdict.findings = verdict.findings.filter(finding => !isTruncated(finding));
  const total = (of: 'lines' | 'chains'): number => all.reduce((sum, verdict) => sum + verdict[of], 0);
  return {
    lines: total('lines'),
    chains: total('chains'),
    last: all[0]?.last ?? CHAIN_START,
    findings: all.flatMap(({ findings }) => findings),
    files: Object.fromEntries(verdicts),
  };
}

class ChainCheck {
  readonly #expect: string | undefined;
  readonly #verdict: AuditVerdict = { lines: 0, chains: 0, last: CHAIN_START, findings: [] };
  readonly #seen = new Set<string>();
  /** Undefined until the first complete line: an older file may have been rotated away. */
  #head: string | undefined;
  /** Unreadable lines since the last complete one, and the head after them. */
  #unreadable: { file: string; line: number }[] = [];
  #headAfterCuts = CHAIN_START;
  #met = false;

  constructor(expect: string | undefined) {
    this.#expect = expect;
  }

  line(bytes: Buffer, file: string, line: number): void {
    const prev = prevOf(bytes);
    if (prev === undefined) this.#cutLine(bytes, file, line);
    else this.#completeLine(bytes, prev, file, line);
  }

  end(file: string): AuditVerdict {
    this.#settleUnreadable(true);
    if (this.#expect !== undefined && !this.#met && this.#expect !== this.#verdict.last) {
      this.#find({
        file,
        line: 0,
        kind: 'truncated',
        message: 'no line has the expected hash: the end is missing',
      });
    }
    return this.#verdict;
  }

  #cutLine(bytes: Buffer, file: string, line: number): void {
    if (this.#unreadable.length === 0) this.#headAfterCuts = this.#head ?? CHAIN_START;
    this.#unreadable.push({ file, line });
    this.#headAfterCuts = headAfterCut(this.#headAfterCuts, bytes);
    this.#verdict.last = this.#headAfterCuts;
    this.#met ||= this.#headAfterCuts === this.#expect;
  }

  #completeLine(bytes: Buffer, prev: string, file: string, line: number): void {
    const head = headAfter(bytes);
    this.#verdict.lines++;
    if (this.#seen.has(head)) {
      this.#find({ file, line, kind: 'duplicate', message: 'this line stands twice' });
      return;
    }
    const startsChain = line === 1 && prev === CHAIN_START;
    if (startsChain) this.#verdict.chains++;
    if (this.#unreadable.length > 0) this.#settleUnreadable(prev === this.#headAfterCuts);
    else if (this.#head !== undefined && prev !== this.#head && !startsChain) {
      const message =
        'does not follow the line before it: that line was changed, or lines between are missing';
      this.#find({ file, line, kind: 'broken', message });
    }
    this.#advance(head);
  }

  #settleUnreadable(vouchedFor: boolean): void {
    for (const place of this.#unreadable) {
      const finding = vouchedFor
        ? ({
            kind: 'cut',
            message: 'cut short: the process or the disk failed while it was written',
          } as const)
        : ({ kind: 'changed', message: 'not an audit line: it was changed, or inserted' } as const);
      this.#find({ ...place, ...finding });
    }
    this.#unreadable = [];
  }

  #advance(head: string): void {
    this.#head = head;
    this.#verdict.last = head;
    this.#met ||= head === this.#expect;
    this.#seen.add(head);
    if (this.#seen.size > WINDOW) this.#seen.delete(this.#seen.values().next().value as string);
  }

  #find(finding: AuditFinding): void {
    this.#verdict.findings.push(finding);
  }
}

/** The lines of a file without their newlines, never holding more than one chunk and one line. */
async function* readLines(file: string): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(file, { highWaterMark: LINE_LIMIT })) {
    const bytes = rest.length > 0 ? Buffer.concat([rest, chunk as Buffer]) : (chunk as Buffer);
    let at = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, at)) {
      yield bytes.subarray(at, end);
      at = end + 1;
    }
    rest = bytes.subarray(at);
    if (rest.length > LINE_LIMIT)
      throw new Error(`${file}: a line is longer than 1 MiB; this is not an audit file`);
  }
  if (rest.length > 0) yield rest;
}
