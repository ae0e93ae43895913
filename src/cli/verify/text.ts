import { across, type Leak, type Report, type RuleReport, verdictOf } from '../../proof/report.ts';
import { printable } from '../../audit/printable.ts';
import { table } from '../output.ts';

/** Of one rule; `--json` has all. */
const MAX_LINES = 20;
const COLUMNS = (['HTTP/1.1', 'HTTP/2'] as const).flatMap(client =>
  (['HTTP/1.1', 'HTTP/2'] as const).map(upstream => across(client, upstream)),
);

/** Such as `default: github-api, github in header authorization`. */
export function nameOf({ profile, rule, action, credential, placement }: RuleReport): string {
  const what = action === 'allow' ? 'injects nothing' : action;
  return `${profile}: ${rule}, ${credential === undefined ? what : `${credential} in ${placement}`}`;
}

/** A leak in a line. */
export function leakLine({ credential, spelling, place, kind, probe, protocols }: Leak): string {
  const how = spelling === 'as it is' ? spelling : `as ${spelling}`;
  const where = kind === 'elsewhere' ? '' : ` (${kind}: ${probe}; ${protocols})`;
  return `${credential} in ${place}, ${how}${where}`;
}

export function describeReport(report: Report): string {
  const { rules, elsewhere, seconds } = report;
  const lines = rules.flatMap(rule => [
    `${verdictOf(rule).padEnd(7)}  ${nameOf(rule)}: ${rule.probes} ${rule.probes === 1 ? 'probe' : 'probes'}`,
    ...shortened(
      rule.leaks.map(leak => `         LEAK: ${leakLine(leak)}`),
      'leaks',
    ),
    ...shortened(
      rule.notRun.map(
        ({ probe, protocols, why }) =>
          `         not run: ${probe}${protocols === '' ? '' : ` (${protocols})`}: ${why}`,
      ),
      'probes that did not run',
    ),
  ]);
  const own = elsewhere.map(leak => `LEAK     what the gate wrote: ${leakLine(leak)}`);
  return [...[...lines, ...own].map(printable), '', matrixOf(report), '', summary(report, seconds)].join(
    '\n',
  );
}

function shortened(lines: readonly string[], what: string): string[] {
  if (lines.length <= MAX_LINES) return [...lines];
  return [
    ...lines.slice(0, MAX_LINES),
    `         and ${lines.length - MAX_LINES} more ${what}; --json has them all`,
  ];
}

/** How many probes of each kind there were, by the sandbox's protocol and the upstream's. */
export function matrixOf({ matrix }: Report): string {
  const rows = [...matrix].map(([kind, counts]) => [
    kind,
    ...COLUMNS.map(protocols => `${counts.get(protocols) ?? '-'}`),
  ]);
  return table([['PROBES', ...COLUMNS], ...rows]);
}

function summary({ rules, elsewhere }: Report, seconds: number): string {
  const count = (of: (rule: RuleReport) => number): number => rules.reduce((sum, rule) => sum + of(rule), 0);
  const leaks = count(rule => rule.leaks.length) + elsewhere.length;
  const notRun = count(rule => rule.notRun.length);
  const probes = count(rule => rule.probes);
  const verdict =
    leaks > 0
      ? `${leaks} leaks`
      : notRun > 0
        ? 'nothing leaked, but not everything was tried'
        : 'no secret reached the sandbox';
  return `${verdict}: ${probes} probes in ${seconds.toFixed(1)} s, ${notRun} not run`;
}
