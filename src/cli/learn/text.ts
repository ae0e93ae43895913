import { isMap, isScalar, parseDocument } from 'yaml';
import { printable } from '../../audit/printable.ts';
import { configText, flow, scalar } from '../presets/write.ts';
import type { Learned, RawRule } from './rules.ts';

const HEAD = `# The narrowest rules that this run needed. Read them before you use them: a run shows what was wanted, not what is right.
# An id, and a segment with five or more names, stands as *; a folder with too many paths as **.`;

/** `rules:` of a configuration, with comments. */
export function rulesText({ requests, rules, notes }: Learned): string {
  const rows = rules.map(({ rule, notes: of }) => `${comments(of, '  ')}${ruleRow(rule)}`);
  const left =
    notes.length === 0 ? '' : comments(['No rule was made of:', ...notes.map(note => `- ${note}`)], '  ');
  const body = rows.length === 0 ? ' []\n' : `\n${rows.join('\n')}`;
  return `${HEAD}\n# Seen: ${requests} ${requests === 1 ? 'request' : 'requests'}.\nrules:${body}${left}`;
}

function comments(lines: readonly string[], indent: string): string {
  return lines.map(line => `${indent}# ${printable(line)}\n`).join('');
}

function ruleRow({ name, ...keys }: RawRule): string {
  const rows = Object.entries(keys).map(([key, value]) => `    ${key}: ${flow(value)}\n`);
  return `  - name: ${scalar(String(name))}\n${rows.join('')}`;
}

/** A configuration with the rules in place of its own. Without one, one that has nothing else. */
export function withRules(base: string | undefined, learned: Learned): string {
  const text = rulesText(learned);
  if (base === undefined) return configText([]).replace('rules: []\n', () => text);
  const { contents } = parseDocument(base);
  const pair = isMap(contents)
    ? contents.items.find(({ key }) => isScalar(key) && key.value === 'rules')
    : undefined;
  const start = (pair?.key as { range?: number[] } | undefined)?.range?.[0];
  const end = (pair?.value as { range?: number[] } | null | undefined)?.range?.[2];
  if (start === undefined || end === undefined) return `${base.trimEnd()}\n\n${text}`;
  return `${base.slice(0, start)}${text}${base.slice(end)}`;
}
