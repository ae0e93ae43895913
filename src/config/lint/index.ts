import { findWarnings } from '../checks.ts';
import type { Path } from '../document.ts';
import type { Policy } from '../load.ts';
import { checkAddresses } from './addresses.ts';
import { checkClients } from './clients.ts';
import { type CheckCode, CODES } from './codes.ts';
import type { Find, Finding } from './finding.ts';
import { type Ignore, ignoresIn } from './ignore.ts';
import { checkOrder } from './order.ts';
import { checkReach } from './reach.ts';
import { checkSubjects } from './subjects.ts';
import { checkUses } from './uses.ts';

/** Everything in a valid configuration that is probably not meant, in the order of the file. */
export function lint(policy: Policy): Finding[] {
  const { yaml, root, text } = policy;
  const findings: Finding[] = [];
  const add = (code: CheckCode, problem: Omit<Finding, 'code' | 'level' | 'fix'>, fix: string): void => {
    findings.push({ ...problem, code, level: CODES[code].level, fix });
  };
  const find: Find = (code, path: Path, message, fix) => add(code, yaml.problem(path, message, 'key'), fix);
  findWarnings(root, (path, message, code) => {
    const [what = message, fix = 'see docs/checks.md'] = message.split('; ');
    add(code, yaml.problem(path, what), fix);
  });
  for (const check of [checkOrder, checkReach, checkUses, checkClients, checkAddresses, checkSubjects])
    check(policy, find);
  const ignores = ignoresIn(text);
  const left = findings.filter(finding => !ignores.some(ignore => silences(ignore, finding)));
  for (const ignore of ignores) {
    const isUsed = findings.some(finding => silences(ignore, finding));
    if (isUsed) continue;
    const message = `this comment ${ignore.fault ?? 'silences nothing on its line, or on the one below'}`;
    const place = { file: yaml.file, line: ignore.line, col: ignore.col, path: '', message };
    left.push({
      ...place,
      code: 'SG017',
      level: CODES.SG017.level,
      fix: 'write `# stubgate-ignore: SG001 why`, on the line of the finding or above it, or take it out',
    });
  }
  return left.toSorted((a, b) => a.line - b.line || a.col - b.col || a.code.localeCompare(b.code));
}

function silences({ holdsAt, codes }: Ignore, { line, code }: Finding): boolean {
  return line === holdsAt && codes.includes(code);
}
