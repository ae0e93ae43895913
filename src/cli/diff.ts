import { resolve } from 'node:path';
import type { Command } from 'commander';
import { printable } from '../audit/printable.ts';
import { type Difference, differences } from '../config/differences.ts';
import { parsePolicy, type Policy, readText } from '../config/load.ts';
import { ConfigError } from '../config/problems.ts';
import type { Change } from '../policy/changes.ts';
import { DEFAULT_PORT, OTHER_METHOD } from '../policy/places.ts';
import { FAILED } from './fail.ts';
import { print, printJson } from './output.ts';

interface DiffOptions {
  json?: boolean;
  markdown?: boolean;
  widening: boolean;
}

export function diffVerb(program: Command): void {
  program
    .command('diff')
    .argument('<old>', 'a configuration')
    .argument('<new>', 'the one that is to replace it')
    .description('what a change newly allows, denies or injects; without any network')
    .option('--json', 'for programs')
    .option('--markdown', 'for a comment on a pull request')
    .option('--no-widening', 'exit 1 if the change allows or injects anything that was not before')
    .addHelpText('after', '\nExample:\n  stubgate diff --no-widening old.yaml stubgate.yaml')
    .action(diff);
}

function diff(old: string, next: string, { json, markdown, widening }: DiffOptions): void {
  const found = differences(readOld(old, next), parsePolicy(readText(next), resolve(next)));
  const widens = found.some(({ effect }) => effect === 'widens');
  if (json) printJson({ old, new: next, widens, differences: found.map(asJson) });
  else print(markdown ? asMarkdown(found) : asText(found));
  if (widens && !widening) process.exitCode = FAILED;
}

/** As if it stood in the place of the new one, so that the same relative paths are the same. */
function readOld(old: string, next: string): Policy {
  const text = readText(old);
  try {
    return parsePolicy(text, resolve(next));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    // To be told of under its own name.
    return parsePolicy(text, resolve(old));
  }
}

const TITLES = [
  ['widens', 'Newly allowed, or given'],
  ['narrows', 'No longer allowed, or given'],
  ['changes', 'Changed otherwise'],
] as const satisfies readonly (readonly [Difference['effect'], string])[];

const NOTHING = 'No difference in what is allowed, denied or injected.';

function asText(found: readonly Difference[]): string {
  const parts = TITLES.flatMap(([effect, title]) => {
    const lines = found.filter(one => one.effect === effect).flatMap(one => textLines(one));
    return lines.length === 0 ? [] : [`${title}:`, ...lines.map(line => `  ${printable(line)}`)];
  });
  return parts.length === 0 ? NOTHING : parts.join('\n');
}

function textLines(one: Difference): string[] {
  if (!one.change) return [`${one.path}: ${one.text}`];
  const { example } = one.change;
  return [`${one.profile}: ${inWords(one.change)}`, `    for example ${example}`];
}

function asMarkdown(found: readonly Difference[]): string {
  const widens = found.some(({ effect }) => effect === 'widens');
  const head = widens
    ? '### ⚠️ This change widens the egress policy'
    : '### This change does not widen the egress policy';
  if (found.length === 0) return `${head}\n\n${NOTHING}`;
  const parts = TITLES.flatMap(([effect, title]) => {
    const rows = found.filter(one => one.effect === effect);
    if (rows.length === 0) return [];
    const cells = rows.map(one => {
      const what = one.change ? inWords(one.change) : `${one.text}`;
      return `| ${cell(one.profile ?? one.path ?? '')} | ${cell(what)} | ${one.change ? `<code>${cell(one.change.example)}</code>` : ''} |`;
    });
    return [`**${title}**\n\n| where | what | for example |\n|---|---|---|\n${cells.join('\n')}`];
  });
  return [head, ...parts].join('\n\n');
}

/** What a table's cell may hold: names of a file that somebody proposes are no markup. */
const cell = (text: string): string =>
  printable(text).replace(/[\\|`<>[\]*_&@#]/g, char => `&#${char.charCodeAt(0)};`);

/** `POST to https://api.example.com, paths /a/** (rule x; before: no rule)` */
export function inWords(change: Change): string {
  const { kind, from, to, details, isCertain } = change;
  const rule = (name: string | null): string => (name === null ? 'no rule' : `rule ${name}`);
  const by = `(${rule(to)}; before: ${rule(from)})`;
  const what = `${methodsOf(change)} ${placeOf(change)}${pathsOf(change)}`;
  const doubt = isCertain ? '' : ', which cannot be excluded, because the rules are too many to compare';
  switch (kind) {
    case 'allows':
      return `allows ${what} ${by}${doubt}`;
    case 'tunnels':
      return `lets pass unread ${what} ${by}${doubt}`;
    case 'reads':
      return `reads what passed unread: ${what} ${by}`;
    case 'denies':
      return `denies ${what} ${by}${doubt}`;
    case 'loosens':
      return `${details.join(', and ')}: ${what} ${by}`;
    case 'tightens':
      return `no longer ${details.join(', and ')}: ${what} ${by}`;
  }
}

function methodsOf({ methods, isAnyMethod }: Change): string {
  if (isAnyMethod) return 'any method';
  const named = methods.filter(method => method !== OTHER_METHOD);
  if (named.length === methods.length) return named.join(', ');
  // OPTIONS is always told apart.
  return named.length <= 1 ? 'any other method' : `${named.join(', ')} and any other method`;
}

function placeOf({ hosts, scheme, ports }: Change): string {
  const port = ports.length === 1 && ports[0] === DEFAULT_PORT[scheme] ? '' : `, port ${ports.join(', ')}`;
  return `to ${scheme}://${hosts.join(`, ${scheme}://`)}${port}`;
}

function pathsOf({ paths }: Change): string {
  return paths === undefined ? ', any path' : `, ${paths.length === 1 ? 'path' : 'paths'} ${paths.join(' ')}`;
}

function asJson({ change, ...rest }: Difference): object {
  return change ? { ...rest, ...change, text: inWords(change) } : rest;
}
