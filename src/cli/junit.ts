import type { CaseResult } from './run-cases.ts';

/** Results as JUnit XML, which CI systems show case by case. */
export function junit(results: readonly CaseResult[]): string {
  const suites = [...Map.groupBy(results, ({ file }) => file)].map(([file, cases]) => {
    const failed = cases.filter(({ mismatches }) => mismatches.length > 0).length;
    const lines = cases.map(one => testcase(one));
    return `  <testsuite name="${xml(file)}" tests="${cases.length}" failures="${failed}" errors="0" skipped="0">\n${lines.join('\n')}\n  </testsuite>`;
  });
  const failures = results.filter(({ mismatches }) => mismatches.length > 0).length;
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="stubgate test" tests="${results.length}" failures="${failures}">\n${suites.join('\n')}\n</testsuites>\n`;
}

function testcase({ name, file, line, mismatches }: CaseResult): string {
  const open = `    <testcase name="${xml(name)}" classname="${xml(file)}" file="${xml(file)}" line="${line}"`;
  if (mismatches.length === 0) return `${open}/>`;
  const text = mismatches.map(({ key, expected, got }) => `${key}: expected ${expected}, got ${got}`);
  const message = `${file}:${line}: ${text.join('; ')}`;
  return `${open}>\n      <failure message="${xml(message)}" type="mismatch">${xml(text.join('\n'))}</failure>\n    </testcase>`;
}

/** Text as XML 1.0 takes it, in element and attribute. */
function xml(text: string): string {
  return text
    .replace(/[^\t\n\r\x20-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '\ufffd')
    .replace(/[&<>"'\n\t]/g, char => `&#${char.charCodeAt(0)};`);
}
