import { relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { CODES } from '../config/lint/codes.ts';
import type { Problem } from '../config/problems.ts';
import type { Finding } from '../config/lint/finding.ts';
import { version } from './version.ts';

/** What a configuration is told. */
export interface Checked {
  readonly file: string;
  readonly errors: readonly Problem[];
  /** Empty if there is an error. */
  readonly findings: readonly Finding[];
}

/** The rule of what makes a configuration invalid. */
const INVALID = { id: 'SG000', level: 'error', title: 'A configuration that is not valid' } as const;

/** What was found as SARIF 2.1.0 (OASIS), which code hosts show beside the lines. */
export function sarif({ errors, findings }: Checked, from = process.cwd()): object {
  const codes = Object.entries(CODES).map(([id, { level, title }]) => ({ id, level, title }));
  const rules = [INVALID, ...codes];
  const indexes = new Map(rules.map(({ id }, index) => [id, index]));
  const results = [
    ...errors.map(problem => ({ ...problem, code: INVALID.id, level: INVALID.level, fix: undefined })),
    ...findings,
  ].map(({ code, level, fix, ...problem }) => ({
    ruleId: code,
    ruleIndex: indexes.get(code),
    level,
    message: { text: fix === undefined ? problem.message : `${problem.message}; ${fix}` },
    locations: [{ physicalLocation: physicalLocation(problem, from) }],
  }));
  return {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            name: 'stubgate',
            semanticVersion: version(),
            rules: rules.map(({ id, level, title }) => ({
              id,
              shortDescription: { text: title },
              defaultConfiguration: { level },
            })),
          },
        },
        columnKind: 'utf16CodeUnits',
        results,
      },
    ],
  };
}

/** Relative to the folder that the tool runs in, which is where a code host looks for it. */
function physicalLocation({ file, line, col }: Problem, from: string): object {
  const path = relative(from, file);
  const uri = path.startsWith('..')
    ? pathToFileURL(file).href
    : path.split(/[\\/]/).map(encodeURIComponent).join('/');
  return { artifactLocation: { uri }, region: { startLine: line, startColumn: col } };
}
