/** One thing that was tried, and what was wrong with it. */
export interface TestCase {
  readonly file: string;
  readonly line: number;
  readonly name: string;
  /** Empty: it passes. */
  readonly failures: readonly string[];
}

/** Results as JUnit XML, which CI systems show case by case. */
export function junit(title: string, results: readonly TestCase[]): string {
  const failing = (cases: readonly TestCase[]): number =>
    cases.filter(({ failures }) => failures.length > 0).length;
  const suites = [...Map.groupBy(results, ({ file }) => file)].map(
    ([file, cases]) =>
      `  <testsuite name="${xml(file)}" tests="${cases.length}" failures="${failing(cases)}" errors="0" skipped="0">\n${cases.map(testcase).join('\n')}\n  </testsuite>`,
  );
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="${xml(title)}" tests="${results.length}" failures="${failing(results)}">\n${suites.join('\n')}\n</testsuites>\n`;
}

function testcase({ name, file, line, failures }: TestCase): string {
  const open = `    <testcase name="${xml(name)}" classname="${xml(file)}" file="${xml(file)}" line="${line}"`;
  if (failures.length === 0) return `${open}/>`;
  const message = `${file}:${line}: ${failures.join('; ')}`;
  return `${open}>\n      <failure message="${xml(message)}" type="failure">${xml(failures.join('\n'))}</failure>\n    </testcase>`;
}

/** Text as XML 1.0 takes it, in element and attribute. */
function xml(text: string): string {
  return text
    .replace(/[^\t\n\r\x20-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '\ufffd')
    .replace(/[&<>"'\n\t]/g, char => `&#${char.charCodeAt(0)};`);
}
