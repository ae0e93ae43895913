import { lenientReadings } from './path.ts';

/**
 * A set of paths: those under a glob as an allow row reads it, or (`lenient`) at least those that a deny row of that
 * glob may stop. What a lenient server reads is a regular language, too: here a little more than it.
 */
export interface PathPattern {
  readonly glob: string;
  readonly lenient: boolean;
}

/** All paths that fall under the same patterns, and no others. */
export interface PathCell {
  /** Indexes of the patterns. */
  readonly under: ReadonlySet<number>;
  /** One of them. `*` is the target of `OPTIONS *`, which no glob covers. */
  readonly example: string;
}

/** Steps after which patterns count as too many to compare: some hundred ms. */
export const STEPS = 4_000_000;

const SLASH = '/';
const HEX = '6745238901abcdefABCDEF';
const ESCAPE = '%';
/** `%`, encoded itself. */
const DOUBLED = '%25';
/** Stand-ins for every character that no pattern names here, the most readable first. */
const OTHERS = `xyzwvabcdefghijklmnopqrstuABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_~!$&'()*+,=:@"<>[]^\`{|}.;`;

/** What may stand in a path as it is sent. */
const PATH_CHARACTER = /^(?!\?)[!"$-[\]-~]$/;

/** A state of all patterns' automaton, without empty moves. */
interface State {
  /** On one character. */
  on?: Map<string, number[]>;
  /** On any character but `/`. */
  onText?: number[];
  /** On a percent-encoded character, of a lenient pattern: whichever it is. */
  onEscape?: number[];
  /** On a `%` that is encoded itself, of a lenient pattern: what it begins is not followed up, and may be anything. */
  onDoubled?: number;
  /** The patterns that a path which ends here falls under. */
  ends?: number[];
}

/**
 * Every combination of patterns that a path can fall under, none at all included, each with an example: the states
 * that the patterns' automata can be in at the same time (subset construction). Undefined after too many steps.
 */
export function pathCells(
  patterns: readonly PathPattern[],
  spend: (steps: number) => boolean,
): readonly PathCell[] | undefined {
  const machine = new Machine();
  const start = patterns.flatMap((pattern, i) => machine.compile(pattern, i));
  const cells = new Map<string, PathCell>();
  const seen = new Set<string>();
  const queue: { states: readonly number[]; path: string }[] = [];
  const visit = (states: readonly number[], path: string): void => {
    const key = `${readingOf(path)}:${states.join()}`;
    if (seen.has(key)) return;
    seen.add(key);
    queue.push({ states, path });
  };
  visit(machine.step(start, SLASH), SLASH);
  for (const { states, path } of queue) {
    const symbols = machine.symbolsAt(states);
    if (!spend((states.length + 1) * symbols.length)) return undefined;
    const under = machine.ending(states);
    if (!/\/\.\.?$/.test(path) && !cells.has(under.join())) {
      cells.set(under.join(), { under: new Set(under), example: path });
    }
    for (const symbol of symbols) {
      if (!isRefused(path + symbol)) visit(machine.step(states, symbol), path + symbol);
    }
  }
  return [...cells.values(), { under: new Set(), example: '*' }];
}

/** What of a path's end decides what may follow: a dot segment that has begun, or the first slash. */
function readingOf(path: string): string {
  return path === SLASH ? SLASH : (/\/\.{1,2}$/.exec(path)?.[0] ?? '');
}

/** Such a path is refused before any rule is asked (`canonicalPath`). */
const isRefused = (path: string): boolean => /^\/\/|\/\.\.?[/;]$/.test(path);

/** The automata of all patterns in one table of states. */
class Machine {
  readonly #states: State[] = [];
  /** Of the lenient pattern that is being built: where anything may follow. */
  #anything: number | undefined;
  /** Otherwise a `%` is a character like any other. */
  #tellsEscapes = false;

  /** The states that a path of the pattern starts in. */
  compile({ glob, lenient }: PathPattern, id: number): number[] {
    this.#tellsEscapes ||= lenient || glob.includes(ESCAPE);
    this.#anything = lenient ? this.#add({ ends: [id] }) : undefined;
    if (this.#anything !== undefined) {
      const anything = this.#states[this.#anything] as State;
      Object.assign(anything, { onText: [this.#anything], ...this.#begun(), onEscape: [this.#anything] });
      this.#edge(this.#anything, SLASH, this.#anything);
    }
    const spellings = lenient ? new Set(lenientReadings(glob)) : [glob];
    return [...spellings].map(spelling => this.#build(spelling.split('/').slice(1), lenient, id));
  }

  /** A symbol is a character, or a percent-encoded one (`%2F`), as no path has a `%` that begins none. */
  step(states: readonly number[], symbol: string): number[] {
    let next = new Set(states);
    for (const char of symbol) next = this.#stepCharacter(next, char, symbol.length > 1);
    if (symbol.length > 1)
      for (const state of states) for (const to of this.#states[state]?.onEscape ?? []) next.add(to);
    return sorted(next);
  }

  /** Of the states of a lenient pattern, an escape is one step, not three. */
  #stepCharacter(states: ReadonlySet<number>, char: string, isInEscape: boolean): Set<number> {
    const next = new Set<number>();
    for (const state of states) {
      const { on, onText, onEscape } = this.#states[state] as State;
      if (isInEscape && onEscape) continue;
      for (const to of on?.get(char) ?? []) next.add(to);
      for (const to of (char === SLASH ? undefined : onText) ?? []) next.add(to);
    }
    return next;
  }

  /** What patterns tell apart here, with one symbol for all that they do not. */
  symbolsAt(states: readonly number[]): string[] {
    const named = this.#named(states);
    named.delete(ESCAPE);
    const other = OTHERS.split('').find(char => !named.has(char));
    named.add(SLASH);
    const characters = other === undefined ? [...named] : [other, ...named];
    return this.#tellsEscapes
      ? [...new Set([...characters, ...this.#escapesAt(states), DOUBLED])]
      : characters;
  }

  #escapesAt(states: readonly number[]): string[] {
    const digits = (of: Iterable<number>): string[] => {
      const named = this.#named(of);
      const other = HEX.split('').find(digit => !named.has(digit));
      return [...(other === undefined ? [] : [other]), ...[...named].filter(char => HEX.includes(char))];
    };
    const begun = this.#stepCharacter(new Set(states), ESCAPE, true);
    return digits(begun).flatMap(first =>
      digits(this.#stepCharacter(begun, first, true)).map(second => `%${first}${second}`),
    );
  }

  #named(states: Iterable<number>): Set<string> {
    const named = new Set<string>();
    for (const state of states) {
      for (const char of this.#states[state]?.on?.keys() ?? [])
        if (PATH_CHARACTER.test(char)) named.add(char);
    }
    return named;
  }

  ending(states: readonly number[]): number[] {
    return sorted(states.flatMap(state => this.#states[state]?.ends ?? []));
  }

  /** Built from its end, so that each state is complete when it is pointed to. */
  #build(segments: readonly string[], lenient: boolean, id: number): number {
    let next = lenient ? this.#lenientEnd(id) : this.#add({ ends: [id] });
    for (const segment of segments.toReversed()) {
      if (segment === '**') next = this.#anyDepth(next, lenient);
      else next = this.#slash(this.#text(segment, next, lenient), lenient);
    }
    return next;
  }

  /** `(?:/[^/]*)*`, then what follows. A lenient one may hold anything. */
  #anyDepth(next: number, lenient: boolean): number {
    const inside = this.#copy(next);
    const before = this.#copy(next);
    this.#loop(inside, inside, lenient);
    this.#edge(inside, SLASH, inside);
    if (lenient) this.#slashFrom(before, inside);
    else this.#edge(before, SLASH, inside);
    return before;
  }

  #slash(next: number, lenient: boolean): number {
    const before = this.#add(this.#begun());
    if (!lenient) this.#edge(before, SLASH, next);
    else {
      // Further slashes, and segments of nothing but parameters, are dropped by a lenient server.
      const behind = this.#copy(next);
      this.#slashFrom(behind, behind);
      this.#slashFrom(before, behind);
    }
    return before;
  }

  /** Parameters if there are any, then a slash, in any spelling. */
  #slashFrom(from: number, to: number): void {
    const parameters = this.#add(this.#begun());
    this.#loop(parameters, parameters, true);
    this.#spelled(parameters, SLASH, to);
    this.#spelled(from, ';', parameters);
    this.#spelled(from, SLASH, to);
  }

  #lenientEnd(id: number): number {
    const [end, parameters, slashes] = [0, 1, 2].map(() => this.#add({ ...this.#begun(), ends: [id] })) as [
      number,
      number,
      number,
    ];
    this.#loop(parameters, parameters, true);
    for (const from of [end, slashes]) this.#spelled(from, ';', parameters);
    for (const from of [end, slashes, parameters]) this.#spelled(from, SLASH, slashes);
    return end;
  }

  /** One segment; a whole one of `*` is not empty. */
  #text(segment: string, next: number, lenient: boolean): number {
    let at = next;
    for (const char of segment.split('').toReversed()) {
      const before = char === '*' ? this.#copy(at) : this.#add(this.#begun());
      if (char === '*') this.#loop(before, before, lenient);
      else if (lenient) this.#spelled(before, char, at);
      else this.#edge(before, char, at);
      at = before;
    }
    if (segment !== '*') return at;
    const some = this.#add(this.#begun());
    this.#loop(some, at, lenient);
    return some;
  }

  /** Any character but `/`. */
  #loop(from: number, to: number, lenient: boolean): void {
    const state = this.#states[from] as State;
    (state.onText ??= []).push(to);
    if (lenient) state.onEscape?.push(to);
  }

  #copy(of: number): number {
    const { on, onText, onEscape, onDoubled, ends } = this.#states[of] as State;
    return this.#add({
      ...(on && { on: new Map([...on].map(([char, targets]) => [char, [...targets]])) }),
      ...(onText && { onText: [...onText] }),
      ...(onEscape && { onEscape: [...onEscape] }),
      ...(onDoubled !== undefined && { onDoubled }),
      ...(ends && { ends: [...ends] }),
    });
  }

  /** A character in plain or percent-encoded. */
  #spelled(from: number, char: string, to: number): void {
    this.#edge(from, char, to);
    this.#states[from]?.onEscape?.push(to);
  }

  /** What each state of the pattern has. */
  #begun(): State {
    return this.#anything === undefined ? {} : { onEscape: [], onDoubled: this.#anything };
  }

  #add(state: State): number {
    return this.#states.push(state) - 1;
  }

  #edge(from: number, char: string, to: number): void {
    const state = this.#states[from] as State;
    const targets = (state.on ??= new Map<string, number[]>()).get(char);
    if (targets) targets.push(to);
    else state.on.set(char, [to]);
  }
}

function sorted(numbers: Iterable<number>): number[] {
  return [...new Set(numbers)].toSorted((a, b) => a - b);
}
