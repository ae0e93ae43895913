import { readFileSync } from 'node:fs';
import { isMap, isSeq, LineCounter, parseDocument } from 'yaml';

/** Where each rule stands in a configuration, by its name: line and column, from 1. */
export function ruleLines(file: string): ReadonlyMap<string, { line: number; col: number }> {
  const lines = new LineCounter();
  const document = parseDocument(readFileSync(file, 'utf8'), { lineCounter: lines });
  const rules = document.get('rules');
  const found = new Map<string, { line: number; col: number }>();
  for (const rule of isSeq(rules) ? rules.items : []) {
    const name = isMap(rule) ? rule.get('name') : undefined;
    if (typeof name === 'string' && isMap(rule)) found.set(name, lines.linePos(rule.range?.[0] ?? 0));
  }
  return found;
}
