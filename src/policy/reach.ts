import { exampleRequest, type Place, places, type Question, Questions } from './places.ts';
import type { RuleSpec } from './table.ts';

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
  const survey = new Survey(rules);
  const questions = new Questions(rules, steps);
  for (const place of places(rules)) survey.ask(place, questions.of(place));
  return survey.result();
}

class Survey {
  readonly #rules: readonly RuleSpec[];
  readonly #reached = new Set<number>();
  readonly #hiddenBy = new Map<number, Set<number>>();
  readonly #overlaps = new Map<string, Overlap>();

  constructor(rules: readonly RuleSpec[]) {
    this.#rules = rules;
  }

  ask(place: Place, questions: readonly Question[] | undefined): void {
    const first = this.#rules[place.rows[0] as number];
    const tunnels = place.scheme === 'https' && first?.action === 'tunnel';
    if (!questions) {
      for (const row of place.rows) this.#reached.add(row);
      return;
    }
    if (tunnels) {
      this.#reached.add(place.rows[0] as number);
      for (const row of place.rows.slice(1)) this.#hide(row, place.rows[0] as number);
      return;
    }
    for (const { matches } of questions) this.#walk(matches, place);
    for (const question of questions) this.#findOverlaps(place, question, questions);
  }

  result(): Reach {
    const unreached = [...this.#rules.keys()]
      .filter(rule => !this.#reached.has(rule))
      .map(rule => ({
        rule,
        hiddenBy: [...(this.#hiddenBy.get(rule) ?? [])].sort((a, b) => a - b),
        isTunnel: this.#rules[rule]?.action === 'tunnel',
      }));
    const overlaps = [...this.#overlaps.values()].filter(({ denies }) => this.#reached.has(denies));
    return { unreached, overlaps };
  }

  #walk(matches: Question['matches'], { rows }: Place): void {
    let winner: number | undefined;
    for (const { row, maybe } of matches) {
      const isTunnel = this.#rules[row]?.action === 'tunnel';
      if (isTunnel) this.#hide(row, rows[0] as number);
      else if (winner !== undefined) this.#hide(row, winner);
      else this.#reached.add(row);
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
