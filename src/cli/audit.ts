import type { Command } from 'commander';
import { filesOfWorkers } from '../audit/files.ts';
import { formatAuditLine, tailAudit } from '../audit/tail.ts';
import { printable } from '../audit/printable.ts';
import { type AuditVerdict, verifyAudit, verifyChains } from '../audit/verify.ts';
import { loadConfig } from '../config/load.ts';
import { FAILED, UsageError } from './fail.ts';
import { configOption, requireConfig } from './find-config.ts';
import { print, printJson } from './output.ts';

export function auditVerb(program: Command): void {
  const audit = program
    .command('audit')
    .description('read the audit, and check that nothing was taken out of it')
    .addHelpText('after', '\nExample:\n  stubgate audit tail -f');
  audit
    .command('tail')
    .argument('[file]', 'else those of the gate that the configuration names')
    .description('the last lines')
    .addOption(configOption())
    .option('-n, --lines <count>', 'how many', '10')
    .option('-f, --follow', 'and what follows, across log rotation')
    .option('--json', 'the lines as they are')
    .addHelpText('after', '\nExample:\n  stubgate audit tail -n 100 -f')
    .action(tail);
  audit
    .command('verify')
    .argument('[files...]', 'of one process, oldest first; else those that the configuration names')
    .description('find changed, missing, cut and doubled lines; exit 1 if there is one')
    .addOption(configOption())
    .option('--expect <hash>', 'a last hash that was noted before: finds a missing end, too')
    .option('--json', 'for programs')
    .addHelpText('after', '\nExample:\n  stubgate audit verify audit.jsonl.2 audit.jsonl.1 audit.jsonl')
    .action(verify);
}

const auditFile = (config: string | undefined): string => loadConfig(requireConfig(config)).audit.file;

interface TailFlags {
  config?: string;
  lines: string;
  follow?: boolean;
  json?: boolean;
}

async function tail(named: string | undefined, options: TailFlags): Promise<void> {
  if (!/^\d{1,7}$/.test(options.lines)) throw new UsageError(`--lines ${options.lines}: write a number`);
  const stop = new AbortController();
  // A reader such as `head` that has enough.
  process.stdout.on('error', () => stop.abort());
  process.once('SIGINT', () => stop.abort());
  const file = named ?? auditFile(options.config);
  const files = () => (named === undefined ? filesOfWorkers(file) : [file]);
  const colour = process.stdout.isTTY && process.env['NO_COLOR'] === undefined;
  const wanted = {
    files,
    lines: Number(options.lines),
    follow: options.follow ?? false,
    signal: stop.signal,
  };
  for await (const line of tailAudit(wanted)) print(options.json ? line : formatAuditLine(line, colour));
}

interface VerifyFlags {
  config?: string;
  expect?: string;
  json?: boolean;
}

async function verify(named: string[], { config, expect, json }: VerifyFlags): Promise<void> {
  if (expect !== undefined && !/^[0-9a-f]{64}$/.test(expect)) {
    throw new UsageError('--expect: write the 64 hex digits that an earlier "audit verify" printed as last');
  }
  const verdict = await (named.length > 0
    ? verifyAudit(named, expect)
    : verifyChains(filesOfWorkers(auditFile(config)), expect));
  if (json) printJson(verdict);
  else print(describe(verdict));
  if (verdict.findings.length > 0) process.exitCode = FAILED;
}

function describe({ files, ...verdict }: Awaited<ReturnType<typeof verifyChains>>): string {
  if (!files) return describeChain(verdict);
  return Object.entries(files)
    .map(([file, one]) => `${printable(file)}: ${describeChain(one)}`)
    .join('\n');
}

function describeChain({ findings, lines, chains, last }: AuditVerdict): string {
  const told = findings.map(
    ({ file, line, kind, message }) => `${printable(file)}:${line}: ${kind}: ${message}`,
  );
  const start = chains === 0 ? 'continues an older file' : chains === 1 ? 'one chain' : `${chains} chains`;
  const summary = findings.length === 0 ? 'nothing is missing between them' : `${findings.length} found`;
  return [...told, `${lines} lines, ${start}; ${summary}`, `last ${last}`].join('\n');
}
