import {
  type Document,
  type ErrorCode,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  visit,
} from 'yaml';
import type { Problem } from './problems.ts';
import { findSecrets, isShowable } from './secrets.ts';

/** Keys and indexes from the root of a configuration. */
export type Path = readonly PropertyKey[];

/** Takes what is wrong with the value at a path. */
export type Report = (path: Path, message: string) => void;

/** Enough for shared lists, too few for a bomb. */
const MAX_ALIASES = 100;

/** In our own words, because the parser's quote the file, which may hold a secret. */
const SYNTAX: Partial<Record<ErrorCode, string>> = {
  DUPLICATE_KEY: 'this key is there twice; keep one',
  TAB_AS_INDENT: 'a tab indents this line; write spaces',
  MULTIPLE_DOCS: 'a second document starts here; write one document, without `---` lines',
  BAD_ALIAS: 'text that starts with `*` or `&` must stand in quotes',
  TAG_RESOLVE_FAILED:
    'this tag is unknown; write plain YAML without `!` tags, or quote text that starts with `!`',
  MISSING_CHAR: 'a closing quote, bracket or comma is missing; close what was opened here',
  BAD_SCALAR_START: 'plain text cannot start with this character; put it into quotes',
  BLOCK_AS_IMPLICIT_KEY: 'a `key: value` stands inside another one; put text that holds `: ` into quotes',
  BAD_INDENT:
    'the indentation does not fit, or a bracket before it is open; close it, and give all keys of one mapping the same number of spaces',
  NON_STRING_KEY: 'this key is not plain text; write `key: value`',
};

const NOT_YAML = 'this is not YAML; write `key: value` lines and `- item` lists';
const SECRET =
  'this looks like a secret; keep it in a vault, write where it is (such as env:NAME), and replace it, because it stood in a file';

/** A YAML file as plain values, each of which knows its line and column. */
export class YamlFile {
  readonly file: string;
  /** The file as plain values; undefined if the syntax is broken, null if there is nothing in it. */
  readonly value: unknown;
  /** Faults of the syntax, and secrets that stand in the text. */
  readonly problems: readonly Problem[];
  readonly #lines = new LineCounter();
  readonly #document: Document.Parsed;

  constructor(text: string, file: string) {
    this.file = file;
    // Not left to the parser, which stops counting where it loses its way.
    this.#lines.addNewLine(0);
    for (const { index } of text.matchAll(/\n/g)) this.#lines.addNewLine(index + 1);
    this.#document = parseDocument(text, { prettyErrors: false, stringKeys: true });
    const faults = [...this.#document.errors, ...this.#document.warnings];
    const isReadable = this.#document.errors.every(({ code }) => code === 'DUPLICATE_KEY');
    const aliases = isReadable ? this.#aliasProblems() : [];
    this.value = isReadable && aliases.length === 0 ? this.#document.toJS({ maxAliasCount: -1 }) : undefined;
    this.problems = [
      ...firstOfEachLine(faults.map(({ code, pos }) => this.#problemAt(pos[0], SYNTAX[code] ?? NOT_YAML))),
      ...aliases,
      ...findSecrets(text).map(offset => this.#problemAt(offset, SECRET)),
    ];
  }

  /** A problem with the value at a path, or with the key itself. */
  problem(path: Path, message: string, at: 'value' | 'key' = 'value'): Problem {
    return this.#problemAt(this.#offset(path, at), message, showPath(path));
  }

  #problemAt(offset: number, message: string, path = ''): Problem {
    const { line, col } = this.#lines.linePos(offset);
    return { file: this.file, line: Math.max(line, 1), col: Math.max(col, 1), path, message };
  }

  /** Aliases without an anchor, and a bomb: values that grow by aliases of aliases (CWE-776). */
  #aliasProblems(): Problem[] {
    const problems: Problem[] = [];
    let aliases = 0;
    visit(this.#document, {
      Alias: (_, alias) => {
        aliases++;
        const anchored = alias.resolve(this.#document);
        const offset = startOf(alias) ?? 0;
        if (!anchored)
          problems.push(
            this.#problemAt(
              offset,
              'this alias has no anchor before it; write the value itself, or quote text that starts with `*`',
            ),
          );
        else if (holdsAlias(anchored))
          problems.push(
            this.#problemAt(offset, 'this alias stands for other aliases; write the value itself'),
          );
        else if (aliases === MAX_ALIASES + 1)
          problems.push(
            this.#problemAt(offset, `more than ${MAX_ALIASES} aliases; write the values themselves`),
          );
      },
    });
    return problems;
  }

  /** Where a path stands; if it is not there, where the nearest thing around it does. */
  #offset(path: Path, at: 'value' | 'key'): number {
    let node: unknown = this.#document.contents;
    let offset = startOf(node) ?? 0;
    for (const [depth, step] of path.entries()) {
      if (isAlias(node)) node = node.resolve(this.#document);
      if (isMap(node)) {
        const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(step));
        if (!pair) return offset;
        const wantsKey = at === 'key' && depth === path.length - 1;
        offset = (wantsKey ? undefined : startOf(pair.value)) ?? startOf(pair.key) ?? offset;
        node = pair.value;
      } else if (isSeq(node)) {
        node = node.items[Number(step)];
        offset = startOf(node) ?? offset;
      } else {
        return offset;
      }
    }
    return offset;
  }
}

/** `rules[0].inject[0].credential`; a key that is no plain name is not shown. */
export function showPath(path: Path): string {
  return path
    .map((step, i) => {
      if (typeof step === 'number') return `[${step}]`;
      const name = String(step);
      return `${i === 0 ? '' : '.'}${isShowable(name) ? name : '(not shown)'}`;
    })
    .join('');
}

function startOf(node: unknown): number | undefined {
  const range = (node as { range?: readonly number[] | null } | null | undefined)?.range;
  return range?.[0];
}

function holdsAlias(node: Node): boolean {
  let found = false;
  visit(node, { Alias: () => ((found = true), visit.BREAK) });
  return found;
}

/** A parser that lost its way finds fault with all that follows. */
function firstOfEachLine(problems: readonly Problem[]): Problem[] {
  const seen = new Set<number>();
  return problems.filter(({ line }) => !seen.has(line) && seen.add(line));
}
