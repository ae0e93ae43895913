import type { Injection } from '../types.ts';
import type { RuleHost } from './host.ts';
import { isUnread } from './glob-cover.ts';
import { exampleRequest, OTHER_METHOD, type Place, places, type Question, Questions } from './places.ts';
import type { RuleSpec } from './table.ts';

/** What another table makes of requests that it does not treat as the old one did. */
export interface Change {
  /**
   * `allows`: denied before; `tunnels`: read or denied before, now passes unread; `loosens`: allowed before, with more
   * now; `denies`, `reads`, `tightens`: the other way round.
   */
  readonly kind: 'allows' | 'tunnels' | 'loosens' | 'denies' | 'reads' | 'tightens';
  readonly hosts: readonly RuleHost[];
  readonly scheme: Place['scheme'];
  readonly ports: readonly number[];
  /** `*` stands for every method that no rule names. */
  readonly methods: readonly string[];
  /** The methods are all that there are. */
  readonly isAnyMethod: boolean;
  /** Globs under which the paths are; undefined: any path. */
  readonly paths: readonly string[] | undefined;
  /** Names of the rules that decide, before and now; null: none. */
  readonly from: string | null;
  readonly to: string | null;
  /** What is loosened, or tightened. */
  readonly details: readonly string[];
  readonly example: string;
  /** False: the rules are too many to compare request by request, so this change cannot be excluded. */
  readonly isCertain: boolean;
}

/** What an injection does, as one text: equal texts do the same. */
export type DescribeInjection = (injection: Injection) => string;

/** Everything that `next` allows and `old` does not, and the other way round. Misses nothing; may tell too much. */
export function compareTables(
  old: readonly RuleSpec[],
  next: readonly RuleSpec[],
  describe: DescribeInjection = ({ placement }) => `${placement.type} (${placement.slot})`,
  steps?: number,
): Change[] {
  const comparison = new Comparison(old, next, describe);
  const questions = new Questions(comparison.rules, steps);
  for (const place of places(comparison.rules)) {
    if (comparison.isAlike(place.rows)) continue;
    comparison.compare(place, questions.of(place));
  }
  return comparison.changes();
}

/** What decides a question in one table, as far as host, method and path tell. */
interface Answer {
  readonly effect: 'allow' | 'deny' | 'tunnel';
  readonly row: number | undefined;
}

class Comparison {
  /** Both tables, the old one first. */
  readonly rules: readonly RuleSpec[];
  readonly #olds: number;
  readonly #describe: DescribeInjection;
  /** Of the place that is compared. */
  #methods: ReadonlySet<string> = new Set();
  readonly #found = new Map<
    string,
    { change: Change; of: ReadonlySet<string>; methods: Set<string>; paths: Set<string> | undefined }
  >();

  constructor(old: readonly RuleSpec[], next: readonly RuleSpec[], describe: DescribeInjection) {
    this.rules = [...old, ...next];
    this.#olds = old.length;
    this.#describe = describe;
  }

  changes(): Change[] {
    const changes = [...this.#found.values()].map(({ change, of, methods, paths }) => ({
      ...change,
      isAnyMethod: of.size === methods.size,
      methods: [...methods].toSorted(),
      paths: paths && [...paths].toSorted(),
    }));
    // Hosts that are treated alike are told of together.
    const alike = Map.groupBy(changes, ({ hosts: _hosts, example: _example, ...rest }) =>
      JSON.stringify(rest),
    );
    return [...alike.values()].map(group => ({
      ...(group[0] as Change),
      hosts: group.flatMap(({ hosts }) => hosts),
    }));
  }

  /** Whether both tables say the same of a place, word for word. */
  isAlike(rows: readonly number[]): boolean {
    const text = (row: number): string => {
      const { action, methods, paths, insecure, allowRange, injections } = this.rules[row] as RuleSpec;
      const injects = injections.map(injection => this.#injectionText(injection));
      return JSON.stringify([action, methods, paths, insecure, allowRange, injects]);
    };
    const [before, after] = this.#split(rows);
    return before.length === after.length && before.every((row, i) => text(row) === text(after[i] as number));
  }

  compare(place: Place, questions: readonly Question[] | undefined): void {
    const [before, after] = this.#split(place.rows);
    if (!questions) return this.#assume(place, before, after);
    this.#methods = new Set(questions.flatMap(({ methods }) => methods));
    const tunnelled = [before, after].map(rows => this.#tunnels(place, rows));
    for (const question of questions) {
      const [olds, nexts] = this.#splitMatches(question.matches);
      const pairs = this.#answers(place, tunnelled[0], olds).flatMap(from =>
        this.#answers(place, tunnelled[1], nexts)
          .filter(to => this.#isPossible(olds, from, nexts, to))
          .map(to => [from, to] as const),
      );
      for (const [from, to] of pairs) this.#tell(place, question, from, to);
    }
  }

  #tell(place: Place, question: Question, from: Answer, to: Answer): void {
    if (from.effect === 'deny' && to.effect === 'deny') return;
    if (to.effect === 'deny') return this.#add('denies', place, question, from, to, []);
    if (from.effect === 'deny' || (to.effect === 'tunnel' && from.effect === 'allow')) {
      return this.#add(to.effect === 'tunnel' ? 'tunnels' : 'allows', place, question, from, to, []);
    }
    if (to.effect === 'tunnel') return;
    if (from.effect === 'tunnel') this.#add('reads', place, question, from, to, []);
    const before = from.effect === 'tunnel' ? undefined : this.rules[from.row as number];
    const after = this.rules[to.row as number];
    const looser = this.#loosened(before, after);
    if (looser.length > 0) this.#add('loosens', place, question, from, to, looser);
    const tighter = before ? this.#loosened(after, before) : [];
    if (tighter.length > 0) this.#add('tightens', place, question, from, to, tighter);
  }

  #add(
    kind: Change['kind'],
    place: Place,
    question: Question,
    from: Answer,
    to: Answer,
    details: readonly string[],
    isCertain = true,
  ): void {
    const key = [kind, place.hosts[0], place.scheme, place.ports[0], from.row, to.row, ...details].join();
    const globs = this.#globs(question, from, to);
    const known = this.#found.get(key);
    if (known) {
      for (const method of question.methods) known.methods.add(method);
      if (!globs) known.paths = undefined;
      for (const glob of globs ?? []) known.paths?.add(glob);
      return;
    }
    const name = ({ row }: Answer): string | null =>
      row === undefined ? null : (this.rules[row]?.name ?? null);
    const { rows: _rows, ...where } = place;
    const rules = { from: name(from), to: name(to), details };
    const example = exampleRequest(place, question);
    // Methods and paths are gathered from all its questions.
    const change: Change = {
      kind,
      ...where,
      ...rules,
      methods: [],
      isAnyMethod: false,
      paths: undefined,
      example,
      isCertain,
    };
    this.#found.set(key, {
      change,
      of: this.#methods,
      methods: new Set(question.methods),
      paths: globs && new Set(globs),
    });
  }

  /** The narrowest globs that the rules themselves name for the paths of a question. */
  #globs({ path }: Question, from: Answer, to: Answer): readonly string[] | undefined {
    if (path === '*') return undefined;
    const named = [to, from].map(({ row }) => (row === undefined ? undefined : this.rules[row]?.paths));
    return named[0] ?? named[1];
  }

  /** Whether every request of a place passes unread. */
  #tunnels({ scheme }: Place, rows: readonly number[]): number | undefined {
    const first = rows[0];
    if (scheme !== 'https' || first === undefined) return undefined;
    const { action, methods, paths } = this.rules[first] as RuleSpec;
    return action === 'tunnel' && !methods && !paths ? first : undefined;
  }

  /** The rows that may decide: each that denies under a lenient reading, and the first that matches in any case. */
  #answers({ scheme }: Place, tunnel: number | undefined, matches: Question['matches']): Answer[] {
    if (tunnel !== undefined) return [{ effect: 'tunnel', row: tunnel }];
    const sure = matches.findIndex(({ maybe }) => !maybe);
    const maybes = (sure < 0 ? matches : matches.slice(0, sure)).map(
      ({ row }) => ({ effect: 'deny', row }) as const,
    );
    const row = matches[sure]?.row;
    const rule = row === undefined ? undefined : this.rules[row];
    const inClear = scheme === 'http' && rule && rule.injections.length > 0 && !rule.insecure;
    return [...maybes, { effect: rule?.action === 'allow' && !inClear ? 'allow' : 'deny', row }];
  }

  /**
   * Whether one path can get both answers. A glob of rows that deny reads a path leniently in both tables, or in none:
   * the row that decides does, and those above it do not.
   */
  #isPossible(olds: Question['matches'], from: Answer, nexts: Question['matches'], to: Answer): boolean {
    const unread = new Set([...this.#globsAbove(olds, from), ...this.#globsAbove(nexts, to)]);
    return [[olds, from] as const, [nexts, to] as const].every(([matches, { row }]) => {
      const match = matches.find(one => one.row === row);
      return !match?.maybe || this.rules[match.row]?.paths?.some(glob => !isUnread(glob, unread));
    });
  }

  #globsAbove(matches: Question['matches'], { effect, row }: Answer): readonly string[] {
    if (effect === 'tunnel') return [];
    const at = matches.findIndex(match => match.row === row);
    const above = at < 0 ? matches : matches.slice(0, at);
    return above.flatMap(match => this.rules[match.row]?.paths ?? []);
  }

  /** What a request may do, or is given, under the second rule and not under the first. */
  #loosened(before: RuleSpec | undefined, after: RuleSpec | undefined): string[] {
    const old = before?.injections ?? [];
    const next = after?.injections ?? [];
    const of = (injection: Injection) => `${injection.credential} as ${this.#describe(injection)}`;
    const found: string[] = [];
    for (const injection of next) {
      const same = old.find(one => of(one) === of(injection));
      if (!same) found.push(`injects ${of(injection)}`);
      if (injection.when === 'always' && same?.when === 'stub')
        found.push(`injects ${of(injection)} also where no stub stands`);
    }
    const isGuarded = (list: readonly Injection[], slot: string): boolean =>
      list.some(({ placement, foreign }) => placement.slot === slot && foreign === 'refuse');
    for (const slot of new Set(old.map(({ placement }) => placement.slot))) {
      if (isGuarded(old, slot) && !isGuarded(next, slot))
        found.push(`lets a credential pass that is not the session’s stub, at ${slot}`);
      const requires = (list: readonly Injection[]) =>
        list.some(({ placement, required }) => placement.slot === slot && required);
      if (requires(old) && !requires(next)) found.push(`lets requests pass without a stub at ${slot}`);
    }
    const keepsRange = (rule: RuleSpec | undefined): boolean =>
      !rule || rule.allowRange || rule.injections.length === 0;
    if (before && keepsRange(after) && !keepsRange(before)) found.push('lets `Range` pass');
    return found;
  }

  #injectionText(injection: Injection): string {
    const { credential, when, required, foreign, placement } = injection;
    return [credential, this.#describe(injection), placement.slot, when, required, foreign].join();
  }

  /** Too many patterns: whatever the new rows allow may be new, and whatever the old ones did may be gone. */
  #assume(place: Place, before: readonly number[], after: readonly number[]): void {
    const nothing = { effect: 'deny', row: undefined } as const;
    this.#methods = new Set([OTHER_METHOD]);
    const tell = (kind: Change['kind'], row: number, isNew: boolean): void => {
      const rule = this.rules[row] as RuleSpec;
      if (rule.action === 'deny') return;
      const question = {
        methods: rule.methods ?? [OTHER_METHOD],
        path: '/',
        matches: [],
        cell: { under: new Set<number>(), example: '/' },
      };
      const answer: Answer = { effect: rule.action, row };
      this.#add(kind, place, question, isNew ? nothing : answer, isNew ? answer : nothing, [], false);
    };
    for (const row of after) tell(this.rules[row]?.action === 'tunnel' ? 'tunnels' : 'allows', row, true);
    for (const row of before) tell('denies', row, false);
  }

  #split(rows: readonly number[]): [readonly number[], readonly number[]] {
    return [rows.filter(row => row < this.#olds), rows.filter(row => row >= this.#olds)];
  }

  #splitMatches(matches: Question['matches']): [Question['matches'], Question['matches']] {
    return [matches.filter(({ row }) => row < this.#olds), matches.filter(({ row }) => row >= this.#olds)];
  }
}
