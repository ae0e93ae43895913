import { isIpLiteral, type RuleHost } from './host.ts';
import { lenientReadings } from './path.ts';
import { type PathCell, pathCells, type PathPattern, STEPS } from './path-cells.ts';
import type { RuleSpec } from './table.ts';
import type { Target } from '../types.ts';

/** Requests to which the same rows apply, as far as host, scheme and port tell. */
export interface Place {
  /** Each stands for itself, or for all names below it that no other rule names. */
  readonly hosts: readonly RuleHost[];
  readonly scheme: Target['scheme'];
  readonly ports: readonly number[];
  /** Positions in the list of rules, in its order. */
  readonly rows: readonly number[];
}

/** Requests of one place that every row treats alike. */
export interface Question {
  /** `*` stands for every method that no rule names. */
  readonly methods: readonly string[];
  /** An example of the path. */
  readonly path: string;
  readonly cell: PathCell;
  /** The rows that match, in order. `maybe`: a row that denies, if a lenient server reads the path in a certain way. */
  readonly matches: readonly { readonly row: number; readonly maybe: boolean }[];
}

export const DEFAULT_PORT = { https: 443, http: 80 } as const;
/** No method that is sent, and none that a rule can name. */
export const OTHER_METHOD = '*';

/** Every place that some rule names; in all others nothing is allowed. */
export function places(rules: readonly RuleSpec[]): Place[] {
  return hostClasses(rules).flatMap(({ hosts, rows }) =>
    (['https', 'http'] as const).flatMap(scheme => {
      const here = rows.filter(row => rules[row]?.schemes.includes(scheme));
      const ports = new Set(here.flatMap(row => rules[row]?.ports ?? [DEFAULT_PORT[scheme]]));
      const grouped = groupBy([...ports], port =>
        here.filter(row => (rules[row]?.ports ?? [DEFAULT_PORT[scheme]]).includes(port)),
      );
      return grouped.map(group => ({ hosts, scheme, ports: group.items, rows: group.rows }));
    }),
  );
}

/** The hosts that rules name, together where the same rules apply. */
function hostClasses(rules: readonly RuleSpec[]): { hosts: RuleHost[]; rows: readonly number[] }[] {
  const naming = new Map<RuleHost, number[]>();
  for (const [row, { hosts }] of rules.entries()) {
    for (const host of new Set(hosts)) {
      const rows = naming.get(host);
      if (rows) rows.push(row);
      else naming.set(host, [row]);
    }
  }
  const classes = groupBy([...naming.keys()], host => {
    const rows = hostsAround(host).flatMap(around => naming.get(around) ?? []);
    return [...new Set(rows)].toSorted((a, b) => a - b);
  });
  return classes.map(({ items, rows }) => ({ hosts: items, rows }));
}

/** The host itself, and every wildcard that covers it. */
function hostsAround(host: RuleHost): RuleHost[] {
  if (host === '*' || isIpLiteral(host as never)) return [host];
  const name = host.startsWith('*.') ? host.slice(1) : host;
  const around: RuleHost[] = [host];
  for (let dot = name.indexOf('.', 1); dot >= 0; dot = name.indexOf('.', dot + 1)) {
    around.push(`*${name.slice(dot)}` as RuleHost);
  }
  return [...around, '*'];
}

function groupBy<T>(items: readonly T[], rowsOf: (item: T) => readonly number[]) {
  const groups = new Map<string, { items: T[]; rows: readonly number[] }>();
  for (const item of items) {
    const rows = rowsOf(item);
    const key = rows.join();
    const group = groups.get(key);
    if (group) group.items.push(item);
    else groups.set(key, { items: [item], rows });
  }
  return [...groups.values()];
}

/** Asks places for their questions; remembers the paths of those that are alike, and counts its steps. */
export class Questions {
  readonly #rules: readonly RuleSpec[];
  readonly #cells = new Map<string, readonly PathCell[] | undefined>();
  #left: number;

  constructor(rules: readonly RuleSpec[], steps = STEPS) {
    this.#rules = rules;
    this.#left = steps;
  }

  /** All questions of a place; undefined if there are too many to ask. */
  of({ rows }: Place): Question[] | undefined {
    const { patterns, rowsOf } = this.#patterns(rows);
    const cells = this.#cellsOf(patterns);
    if (!cells) return undefined;
    const anyPath = rows.filter(row => this.#rules[row]?.paths === undefined);
    const grouped = this.#methodGroups(rows);
    if (!this.#spend(cells.length * grouped.length * (anyPath.length + 1))) return undefined;
    return cells.flatMap(cell => {
      const matching = matchesIn(cell, anyPath, patterns, rowsOf);
      return grouped.flatMap(({ items, rows: ofMethod }) => {
        const methods = cell.example === '*' ? items.filter(method => method === 'OPTIONS') : items;
        if (methods.length === 0) return [];
        const among = new Set(ofMethod);
        const matches = matching.filter(({ row }) => among.has(row));
        return [{ methods, path: cell.example, cell, matches }];
      });
    });
  }

  #methodGroups(rows: readonly number[]) {
    const named = new Set(['OPTIONS', ...rows.flatMap(row => this.#rules[row]?.methods ?? []), OTHER_METHOD]);
    return groupBy([...named], method =>
      rows.filter(row => this.#rules[row]?.methods?.includes(method) ?? true),
    );
  }

  #patterns(rows: readonly number[]) {
    const patterns: PathPattern[] = [];
    const rowsOf: number[][] = [];
    const known = new Map<string, number>();
    const add = (glob: string, lenient: boolean, row: number): void => {
      const key = `${lenient}${glob}`;
      const index = known.get(key) ?? patterns.push({ glob, lenient }) - 1;
      known.set(key, index);
      (rowsOf[index] ??= []).push(row);
    };
    for (const row of rows) {
      const { action, paths } = this.#rules[row] as RuleSpec;
      for (const glob of paths ?? []) {
        if (action !== 'deny') add(glob, false, row);
        else {
          for (const spelling of new Set(lenientReadings(glob))) add(spelling, false, row);
          add(glob, true, row);
        }
      }
    }
    return { patterns, rowsOf };
  }

  #cellsOf(patterns: readonly PathPattern[]): readonly PathCell[] | undefined {
    const key = JSON.stringify(patterns);
    if (!this.#cells.has(key))
      this.#cells.set(
        key,
        pathCells(patterns, steps => this.#spend(steps)),
      );
    return this.#cells.get(key);
  }

  #spend(steps: number): boolean {
    this.#left -= steps;
    return this.#left >= 0;
  }
}

function matchesIn(
  { under }: PathCell,
  anyPath: readonly number[],
  patterns: readonly PathPattern[],
  rowsOf: readonly (readonly number[])[],
): { row: number; maybe: boolean }[] {
  const sure = new Set(anyPath);
  const maybe = new Set<number>();
  for (const pattern of under) {
    for (const row of rowsOf[pattern] ?? []) (patterns[pattern]?.lenient ? maybe : sure).add(row);
  }
  const rows = [...new Set([...sure, ...maybe])].toSorted((a, b) => a - b);
  return rows.map(row => ({ row, maybe: !sure.has(row) }));
}

/** A name that stands for a place's host in an example. */
export function exampleHost(host: RuleHost): string {
  if (host === '*') return 'any.example';
  return host.startsWith('*.') ? `any${host.slice(1)}` : host;
}

/** How a request looks, for people. */
export function exampleRequest({ hosts, scheme, ports }: Place, { methods, path }: Question): string {
  const host = exampleHost(hosts[0] as RuleHost);
  const name = host.includes(':') ? `[${host}]` : host;
  const port = ports[0] === DEFAULT_PORT[scheme] ? '' : `:${ports[0]}`;
  const method = methods.find(m => m !== OTHER_METHOD) ?? 'X-OTHER';
  const named = methods.includes('GET')
    ? 'GET'
    : methods.includes(OTHER_METHOD) && methods.includes('OPTIONS')
      ? 'GET'
      : method;
  return `${named} ${scheme}://${name}${port}${path === '*' ? '' : path}`;
}
