import { relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { version } from './version.ts';

/** A kind of result. */
export interface SarifRule {
  readonly id: string;
  readonly level: 'error' | 'warning' | 'note';
  readonly title: string;
}

export interface SarifResult {
  /** Id of its rule. */
  readonly code: string;
  readonly file: string;
  readonly line: number;
  readonly col: number;
  readonly message: string;
}

/** What was found as SARIF 2.1.0 (OASIS), which code hosts show beside the lines. */
export function sarif(
  rules: readonly SarifRule[],
  found: readonly SarifResult[],
  from = process.cwd(),
): object {
  const results = found.map(({ code, message, ...place }) => {
    const ruleIndex = rules.findIndex(({ id }) => id === code);
    return {
      ruleId: code,
      ruleIndex,
      level: rules[ruleIndex]?.level ?? 'error',
      message: { text: message },
      locations: [{ physicalLocation: physicalLocation(place, from) }],
    };
  });
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
function physicalLocation(
  { file, line, col }: Pick<SarifResult, 'file' | 'line' | 'col'>,
  from: string,
): object {
  const path = relative(from, file);
  const uri = path.startsWith('..')
    ? pathToFileURL(file).href
    : path.split(/[\\/]/).map(encodeURIComponent).join('/');
  return { artifactLocation: { uri }, region: { startLine: line, startColumn: col } };
}
