import { isProved, type Report, verdictOf } from '../../proof/report.ts';
import { junit, type TestCase } from '../junit.ts';
import { sarif, type SarifResult } from '../sarif.ts';
import { ruleLines } from './lines.ts';
import { isSafe, type ProgramReport, programLine } from './program.ts';
import { leakLine, nameOf } from './text.ts';

/** What was proved, or not: about rules, or about a program. */
export interface Results {
  /** Absolute path of the configuration. */
  readonly file: string;
  readonly report?: Report;
  readonly program?: ProgramReport;
}

const SARIF_RULES = [
  { id: 'SGV001', level: 'error', title: 'A secret reached the sandbox' },
  { id: 'SGV002', level: 'error', title: 'A probe did not run, and so proves nothing' },
] as const;

export function asJson({ file, report, program }: Results): object {
  if (program) return { config: file, proved: isSafe(program), program };
  if (!report) return { config: file, proved: false };
  const { rules, elsewhere, matrix, seconds } = report;
  return {
    config: file,
    proved: isProved(report),
    seconds,
    rules: rules.map(rule => ({ verdict: verdictOf(rule).toLowerCase(), ...rule })),
    elsewhere,
    matrix: Object.fromEntries([...matrix].map(([kind, counts]) => [kind, Object.fromEntries(counts)])),
  };
}

export function asJunit(results: Results): string {
  return junit('stubgate verify', casesOf(results));
}

export function asSarif(results: Results): string {
  const found = casesOf(results).flatMap(({ file, line, col, name, leaks, notRun }) => [
    ...leaks.map((text): SarifResult => ({ code: 'SGV001', file, line, col, message: `${name}: ${text}` })),
    ...notRun.map((text): SarifResult => ({ code: 'SGV002', file, line, col, message: `${name}: ${text}` })),
  ]);
  return `${JSON.stringify(sarif(SARIF_RULES, found), undefined, 2)}\n`;
}

const waysOut = ({ breakOuts }: ProgramReport): string[] =>
  breakOuts
    .filter(({ verdict }) => verdict === 'OPEN')
    .map(({ what, detail }) => `a way out is open: ${what}: ${detail}`);

interface Case extends TestCase {
  readonly col: number;
  readonly leaks: readonly string[];
  readonly notRun: readonly string[];
}

function casesOf({ file, report, program }: Results): Case[] {
  const lines = ruleLines(file);
  const one = (
    name: string,
    at: { line: number; col: number } | undefined,
    leaks: readonly string[],
    notRun: readonly string[],
  ): Case => ({
    file,
    line: at?.line ?? 1,
    col: at?.col ?? 1,
    name,
    leaks,
    notRun,
    failures: [...leaks, ...notRun.map(text => `not run: ${text}`)],
  });
  const ofRules = (report?.rules ?? []).map(rule =>
    one(
      nameOf(rule),
      lines.get(rule.rule),
      rule.leaks.map(leakLine),
      rule.notRun.map(({ probe, protocols, why }) => `${probe} ${protocols}: ${why}`),
    ),
  );
  const own = report ? [one('what the gate wrote', undefined, report.elsewhere.map(leakLine), [])] : [];
  const ofProgram = program
    ? [
        one(
          `the program ${program.command[0]}`,
          undefined,
          [...program.leaks.map(programLine), ...waysOut(program)],
          program.unseen.map(({ what, why }) => `${what}: ${why}`),
        ),
      ]
    : [];
  return [...ofRules, ...own, ...ofProgram];
}
