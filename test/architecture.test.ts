import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '..');
const src = join(root, 'src');

/** Rooms from left to right; a room imports only from groups to its left, or from itself. */
const GROUPS: readonly (readonly string[])[] = [
  ['types', 'captured', 'log', 'errors', 'secret', 'registry', 'fields', 'http', 'roots', 'aws'],
  ['policy', 'inject', 'vaults', 'mint', 'scrub', 'wire', 'limits'],
  ['upstream', 'state', 'audit', 'alarms', 'identity', 'intercept', 'capture'],
  ['config'],
  ['flow'],
  ['listen'],
  ['app'],
  ['workers'],
  ['admin', 'console', 'proof'],
  ['cli'],
  ['main'],
];
const MAY_REVEAL = new Set(['inject', 'mint', 'scrub', 'secret', 'proof']);
const MAX_FILE_LINES = 300;
const MAX_FUNCTION_LINES = 60;

interface Source {
  readonly file: string;
  readonly room: string;
  readonly text: string;
  readonly imports: readonly string[];
}

function roomOf(file: string): string {
  return (relative(src, file).split('/')[0] ?? '').replace(/\.ts$/, '');
}

function sources(): Source[] {
  const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter(f => f.endsWith('.ts'));
  return files.map(name => {
    const file = join(src, name);
    const text = readFileSync(file, 'utf8');
    const specifiers = [...text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map(m => m[1] ?? '');
    return { file, room: roomOf(file), text, imports: specifiers.map(s => resolve(dirname(file), s)) };
  });
}

/** Length of each named function or method, by the indentation that the formatter guarantees. */
function functionLengths(text: string): { name: string; lines: number }[] {
  const lines = text.split('\n');
  const found: { name: string; lines: number }[] = [];
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i] ?? '';
    const indent = /^ */.exec(line)?.[0] ?? '';
    const isBlock =
      line.endsWith('{') &&
      (/\bfunction\b|=> \{$/.test(line) ||
        /^\s+(?!if|for|while|switch|do|else|try|catch)[\w#]+.*\) ?(: .+)?\{$/.test(line));
    if (!isBlock) continue;
    const end = lines.findIndex((l, j) => j > i && l.startsWith(`${indent}}`));
    if (end > i) found.push({ name: line.trim(), lines: end - i + 1 });
  }
  return found;
}

const all = sources();
const group = (room: string): number => GROUPS.findIndex(g => g.includes(room));

test('every source file is in a room of the house', () => {
  expect(all.filter(s => group(s.room) < 0).map(s => relative(root, s.file))).toEqual([]);
});

test('imports point one way', () => {
  const wrong = all.flatMap(s =>
    s.imports
      .filter(i => {
        const from = group(s.room);
        const to = group(roomOf(i));
        return roomOf(i) !== s.room && !(to < from || (to === 0 && from === 0));
      })
      .map(i => `${relative(root, s.file)} → ${relative(root, i)}`),
  );
  expect(wrong).toEqual([]);
});

test('no import cycle', () => {
  const edges = new Map(all.map(s => [s.file, s.imports]));
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file))
      cycles.push([...path.slice(path.indexOf(file)), file].map(f => relative(src, f)).join(' → '));
    if (done.has(file) || path.includes(file)) return;
    for (const next of edges.get(file) ?? []) visit(next, [...path, file]);
    done.add(file);
  };
  for (const s of all) visit(s.file, []);
  expect(cycles).toEqual([]);
});

test('reveal() stands only where a secret must become text', () => {
  const wrong = all.filter(s => !MAY_REVEAL.has(s.room) && /\breveal\s*\(/.test(s.text));
  expect(wrong.map(s => relative(root, s.file))).toEqual([]);
});

test('nobody imports what loads fetch, but for its types', () => {
  const wrong = all.filter(s => /^import (?!type\b).* from 'node:http';/m.test(s.text));
  expect(wrong.map(s => relative(root, s.file))).toEqual([]);
});

/**
 * V8 makes a function that is written where a property is assigned in old space, as if it were to stay. There it keeps
 * all that it refers to alive until the next collection of the whole heap: each request with its answer. Assigned to a
 * constant first, it is as young as they are (docs/performance.md, "Functions that V8 takes for old").
 */
test('no function is written where it is assigned to a property, wherever exchanges pass', () => {
  const rooms = new Set([
    'flow',
    'wire',
    'scrub',
    'limits',
    'inject',
    'upstream',
    'listen',
    'audit',
    'policy',
    'identity',
    'intercept',
    'capture',
  ]);
  const written =
    /[.\]](?:#?\w+)?\s*(?:\?\?|\|\||&&)?=\s*(?:async\b\s*)?(?:function\b|(?:<[^=;>]*>\s*)?(?:\((?:[^()]|\([^()]*\))*\)|\w+)(?:\s*:\s*[^=;{}]+)?\s*=>)/g;
  for (const sample of [
    'a.b = () => 1',
    'this.#b ??= async x =>\n 1',
    'a[0] = function () {}',
    'a.b = (c: D): E => {',
    'a.b = (c: (d: D) => E, f = g()) => 1',
    'a.b = async <T>(c: T) => 1',
  ])
    expect(sample).toMatch(new RegExp(written.source));
  const found = all
    .filter(s => rooms.has(s.room))
    .flatMap(s => [...s.text.matchAll(written)].map(m => `${relative(root, s.file)}: ${m[0]}`));
  expect(found).toEqual([]);
});

test('no file is longer than 300 lines, no function longer than 60', () => {
  const files = all.filter(s => s.text.split('\n').length - 1 > MAX_FILE_LINES);
  const functions = all.flatMap(s =>
    functionLengths(s.text)
      .filter(f => f.lines > MAX_FUNCTION_LINES)
      .map(f => `${relative(root, s.file)}: ${f.name} (${f.lines} lines)`),
  );
  expect(files.map(s => relative(root, s.file))).toEqual([]);
  expect(functions).toEqual([]);
});

test('the lock file and the sources name no download address', () => {
  expect(readFileSync(join(root, 'package-lock.json'), 'utf8')).not.toMatch(/"resolved"/);
});
