import type { CanonicalHost, Target } from '../types.ts';
import { lenientReadings } from './path.ts';
import {
  DEFAULT_PORT,
  exampleHost,
  exampleRequest,
  type Place,
  places,
  type Question,
  Questions,
} from './places.ts';
import { admit, compileTable, decide, type RuleSpec, type Table } from './table.ts';

/** A rule that no request reaches, and those that take its place. */
export interface Unreached {
  readonly rule: number;
  /** In the order of the table; empty if there is no request at all that it could match. */
  readonly hiddenBy: readonly number[];
  /** It is a tunnel, and a row above it must read the requests. */
  readonly isTunnel: boolean;
}

/** A row that denies, and one above it that allows a part of what it denies, without being an exception to it. */
export interface Overlap {
  readonly allows: number;
  readonly denies: number;
  /** A request in both. */
  readonly example: string;
}

export interface Reach {
  readonly unreached: readonly Unreached[];
  readonly overlaps: readonly Overlap[];
}

/** What the order of rules makes of them. Says nothing of rules that are too many to compare. */
export function reach(rules: readonly RuleSpec[], steps?: number): Reach {
  const survey = new Survey(rules, new Questions(rules, steps));
  for (const place of places(rules)) survey.ask(place);
  return survey.result();
}

class Survey {
  readonly #rules: readonly RuleSpec[];
  readonly #questions: Questions;
  readonly #reached: Set<number>;
  readonly #hiddenBy = new Map<number, Set<number>>();
  readonly #overlaps = new Map<string, Overlap>();
  readonly #prefixes: readonly (readonly string[])[];

  constructor(rules: readonly RuleSpec[], questions: Questions) {
    this.#rules = rules;
    this.#questions = questions;
    this.#prefixes = rules.map(({ paths }) => (paths ?? ['/']).flatMap(lenientReadings).map(fixedStart));
    this.#reached = witnessed(rules, this.#prefixes);
  }

  ask(place: Place): void {
    const [first, ...others] = place.rows as [number, ...number[]];
    if (place.scheme === 'https' && this.#rules[first]?.action === 'tunnel') {
      this.#reached.add(first);
      for (const row of others) this.#hide(row, first);
      return;
    }
    for (const row of others) if (this.#rules[row]?.action === 'tunnel') this.#hide(row, first);
    const asked = { ...place, rows: this.#worthAsking(place.rows) };
    if (asked.rows.length === 0) return;
    const questions = this.#questions.of(asked);
    if (!questions) {
      for (const row of asked.rows) this.#reached.add(row);
      return;
    }
    for (const { matches } of questions) this.#walk(matches);
    for (const question of questions) this.#findOverlaps(place, question, questions);
  }

  /** Rows that may be hidden, or deny what one above them allows, and all rows that could have to do with it. */
  #worthAsking(rows: readonly number[]): number[] {
    const related = new Set<number>();
    for (const [i, row] of rows.entries()) {
      const isSuspect = !this.#reached.has(row);
      if (!isSuspect && this.#rules[row]?.action !== 'deny') continue;
      const above = rows.slice(0, i).filter(other => this.#mayShare(other, row));
      if (!isSuspect && above.every(other => this.#rules[other]?.action !== 'allow')) continue;
      for (const one of [row, ...above]) related.add(one);
    }
    return [...related].toSorted((a, b) => a - b);
  }

  /** Whether two rows may have a path and a method in common. */
  #mayShare(a: number, b: number): boolean {
    const [one, other] = [this.#rules[a]?.methods, this.#rules[b]?.methods];
    if (one && other && !one.some(method => other.includes(method))) return false;
    const starts = this.#prefixes[b] ?? [];
    return (this.#prefixes[a] ?? []).some(x => starts.some(y => x.startsWith(y) || y.startsWith(x)));
  }

  result(): Reach {
    const unreached = [...this.#rules.keys()]
      .filter(rule => !this.#reached.has(rule))
      .map(rule => ({
        rule,
        hiddenBy: [...(this.#hiddenBy.get(rule) ?? [])].toSorted((a, b) => a - b),
        isTunnel: this.#rules[rule]?.action === 'tunnel',
      }));
    const overlaps = [...this.#overlaps.values()].filter(({ denies }) => this.#reached.has(denies));
    return { unreached, overlaps };
  }

  #walk(matches: Question['matches']): void {
    let winner: number | undefined;
    for (const { row, maybe } of matches) {
      if (winner !== undefined) this.#hide(row, winner);
      else if (this.#rules[row]?.action !== 'tunnel') this.#reached.add(row);
      if (!maybe) winner ??= row;
    }
  }

  #hide(row: number, by: number): void {
    const others = this.#hiddenBy.get(row);
    if (others) others.add(by);
    else this.#hiddenBy.set(row, new Set([by]));
  }

  #findOverlaps(place: Place, question: Question, all: readonly Question[]): void {
    const winner = question.matches[0];
    if (!winner || winner.maybe || this.#rules[winner.row]?.action !== 'allow') return;
    for (const { row, maybe } of question.matches) {
      const key = `${winner.row},${row}`;
      if (maybe || this.#rules[row]?.action !== 'deny' || this.#overlaps.has(key)) continue;
      if (isWithin(winner.row, row, all)) continue;
      this.#overlaps.set(key, {
        allows: winner.row,
        denies: row,
        example: exampleRequest(place, question),
      });
    }
  }
}

/** Whether one row matches only what the other one matches as well: an exception, which is written above the rule. */
function isWithin(inner: number, outer: number, questions: readonly Question[]): boolean {
  return questions.every(
    ({ matches }) => !matches.some(({ row }) => row === inner) || matches.some(({ row }) => row === outer),
  );
}

/** Requests of a rule that are tried before anything is compared. */
const TRIES = 32;

/** Rules that a request is known to reach: one is made up for each, and the table asked. */
function witnessed(rules: readonly RuleSpec[], starts: readonly (readonly string[])[]): Set<number> {
  const table = compileTable(rules);
  const byStart = new Map<string, number[]>();
  for (const [row, of] of starts.entries()) {
    for (const start of new Set(of)) {
      const rows = byStart.get(start);
      if (rows) rows.push(row);
      else byStart.set(start, [row]);
    }
  }
  const reached = new Set<number>();
  for (const [row, rule] of rules.entries()) {
    if (rule.action === 'tunnel') continue;
    if (samples(rule).some(target => isReached(table, byStart, target, row))) reached.add(row);
  }
  return reached;
}

function isReached(
  table: Table,
  byStart: ReadonlyMap<string, readonly number[]>,
  target: Target & { path: string },
  row: number,
): boolean {
  const { scheme, host, port, path } = target;
  if (scheme === 'https' && admit(table, { scheme, host, port }).verdict === 'tunnel') return false;
  if (lenientReadings(path).length > 1) return decide(table, target).rule === table.rules[row];
  // Where a host has thousands of rows, few of them have to do with the path.
  for (let end = 0; end <= path.length; end++) {
    for (const other of byStart.get(path.slice(0, end)) ?? []) {
      if (other < row && table.rules[other]?.matches(target)) return false;
    }
  }
  return table.rules[row]?.matches(target) ?? false;
}

function samples({
  hosts,
  schemes,
  ports,
  methods = ['GET', 'X'],
  paths = ['/xyz'],
}: RuleSpec): (Target & { path: string })[] {
  const found = hosts.flatMap(host =>
    schemes.flatMap(scheme =>
      (ports ?? [DEFAULT_PORT[scheme]]).flatMap(port =>
        paths.flatMap(glob =>
          methods.map(method => {
            const path = glob.replaceAll('**', 'xyz').replaceAll('*', 'xyz');
            return { scheme, host: exampleHost(host) as CanonicalHost, port, method, path };
          }),
        ),
      ),
    ),
  );
  return found.slice(0, TRIES);
}

/** What every path under a glob begins with. */
function fixedStart(glob: string): string {
  const end = /\*|\/\*\*$/.exec(glob)?.index ?? glob.length;
  return glob.slice(0, end);
}
