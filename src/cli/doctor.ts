import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { printable } from '../audit/printable.ts';
import { compileConfig } from '../config/compile.ts';
import { loadConfig } from '../config/load.ts';
import { type Authority, openAuthority } from '../intercept/ca.ts';
import type { Config } from '../config/types.ts';
import { type Check, failed, type Finding, type Patient } from './doctor/check.ts';
import { caFiles, certificateAuthority, clock, fileModes } from './doctor/files.ts';
import { ports, trust, upstream } from './doctor/network.ts';
import { redis } from './doctor/redis.ts';
import { vaultAccess } from './doctor/vaults.ts';
import { wiring } from './doctor/wiring.ts';
import { FAILED } from './fail.ts';
import { configOption, requireConfig } from './find-config.ts';
import { harden } from './harden.ts';
import { errorText } from './log.ts';
import { print, printJson } from './output.ts';

/** In the order in which they are told. Each looks at one thing, and changes nothing. */
const CHECKS: readonly Check[] = [
  clock,
  certificateAuthority,
  fileModes,
  trust,
  vaultAccess,
  redis,
  upstream,
  ports,
  wiring,
];

interface DoctorOptions {
  config?: string;
  json?: boolean;
}

interface Told extends Finding {
  readonly check: string;
}

export function doctorVerb(program: Command): void {
  program
    .command('doctor')
    .description('check clock, CA, files, trust, vaults, upstream, ports and the wiring of this shell')
    .addOption(configOption())
    .option('--json', 'for programs')
    .addHelpText(
      'after',
      '\nChanges nothing, and prints no secret. Exit code: 0 nothing failed, 1 something did.\n\nExample:\n  stubgate doctor',
    )
    .action(doctor);
}

async function doctor({ config: named, json }: DoctorOptions): Promise<void> {
  const env = { ...process.env };
  harden();
  const compiled = compileConfig(loadConfig(requireConfig(named)));
  const now = Date.now();
  const authority = authorityOf(compiled.config, now);
  const patient: Patient = { compiled, env, now, ...(authority && { authority }) };
  const told = (await Promise.all(CHECKS.map(check => examine(check, patient)))).flat();
  const isFine = told.every(({ status }) => status !== 'failed');
  if (json) printJson({ ok: isFine, config: compiled.config.file, findings: told });
  else print(told.map(lineOf).join('\n'));
  if (!isFine) process.exitCode = FAILED;
}

/** Undefined if there is none that could be used; makes none. */
function authorityOf(config: Config, now: number): Authority | undefined {
  const { cert, key } = caFiles(config);
  if (!existsSync(cert) || !existsSync(key)) return undefined;
  try {
    return openAuthority(config.ca, now);
  } catch {
    return undefined; // told by a check
  }
}

async function examine({ name, run }: Check, patient: Patient): Promise<Told[]> {
  try {
    return (await run(patient)).map(finding => ({ check: name, ...finding }));
  } catch (error) {
    const text = error instanceof Error ? errorText(error) : 'it could not be looked at';
    return [{ check: name, ...failed(text, 'mend what is told, then type: stubgate doctor') }];
  }
}

function lineOf({ check, status, text, fix }: Told): string {
  const line = `${status.padEnd(6)}  ${check.padEnd(8)}  ${printable(text)}`;
  return fix === undefined ? line : `${line}\n${' '.repeat(18)}→ ${printable(fix)}`;
}
