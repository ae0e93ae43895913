import { Patterns } from '../../src/scrub/index.ts';
import { Reader } from '../../src/scrub/reader.ts';
import { spellings } from '../../src/scrub/spelling.ts';
import { Secret } from '../../src/secret.ts';
import { bytewise, type Scrubbed, STUB, streamed, whole } from '../scrub/stages.ts';
import { WRITERS } from '../scrub/writers.ts';
import { Random } from './random.ts';

export const name = 'scrub';

/** The stub as it may stand in the output: in hex, and in base64 at each alignment, filled up to its groups of three. */
const STUBS = ['__', '_', '']
  .flatMap(fill => spellings(new Secret('stub', `${STUB}${fill}`)))
  .map(spelling => spelling.literal.toString('latin1'))
  .flatMap(text => [text, text.toUpperCase()]);
const MAX_FINDINGS = 10;
/** Longer bodies are cut in fifty pieces instead, for it takes time. */
const MAX_BYTEWISE = 200;
/** Bodies for each set of secrets. */
const BODIES = 8;
const NAMES = Object.keys(WRITERS);
const SECRET_CHARACTERS = [
  'abc',
  'a',
  'nrtbfux0129af',
  '0123456789abcdefABCDEF',
  'xyzABC019_-',
  '5c4ab1',
  'ampltx#04;',
  'ab/+=%&"\\;#u0041 <é€😀\n',
];
/** Whole and broken pieces of what escapes, encodings and neighbours are made of. */
const FILLERS = [
  ' ',
  '"',
  '%',
  '%2',
  '%25',
  '%u00',
  '%u005C',
  '%252',
  '\\',
  '\\\\',
  '\\u',
  '\\u00',
  '\\u005c',
  '\\ud83d',
  '\\x',
  '&',
  '&#',
  '&#x',
  '&#0',
  '&amp;',
  '&#92;',
  ';',
  '\n',
  'n',
  'u',
  'x',
];
const WORDS = [
  '4',
  '41',
  'Bearer ',
  'https://h/',
  'AAAA',
  '\0',
  'é',
  '\\"',
  '\\n',
  '%0A',
  '&quot;',
  '+',
  '/',
  '=',
  '{"a":"',
  '"}',
  'data: ',
  '\n\n',
];

interface Case {
  readonly patterns: Patterns;
  readonly secrets: readonly string[];
  readonly body: Buffer;
  readonly planted: number;
}

/**
 * Whatever surrounds a secret and however it is written, it is found; what comes out holds none; and no way of cutting
 * the body changes what comes out, byte for byte.
 */
export function run(deadlineMs: number): Promise<{ executions: number; findings: string[] }> {
  const first = Number(process.env['FUZZ_SEED'] ?? Math.trunc(Math.random() * 2 ** 31));
  const findings: string[] = [];
  let executions = 0;
  for (let seed = first; performance.now() < deadlineMs && findings.length < MAX_FINDINGS; seed++) {
    const random = new Random(seed);
    const secrets = secretsOf(random);
    const patterns = new Patterns(secrets.map((value, n) => new Secret(`s${n}`, value)));
    for (let n = 0; n < BODIES; n++) {
      const made = { patterns, secrets, ...bodyOf(secrets, random) };
      const wrong = fault(made, random) ?? missed(made);
      executions++;
      if (wrong)
        findings.push(
          `FUZZ_SEED=${seed}: ${wrong}; secrets ${JSON.stringify(secrets)}; body ${JSON.stringify(made.body.toString('latin1'))}`,
        );
    }
  }
  return Promise.resolve({ executions, findings });
}

function fault({ patterns, body, planted }: Case, random: Random): string | null {
  const expected = whole(patterns, body);
  if (planted > 0 && expected.hits === 0) return 'not found';
  // A stub and what stands beside it may happen to spell another secret.
  const without = STUBS.reduce((text, stub) => text.replaceAll(stub, '\x01'), expected.text);
  const left = patterns.find(Buffer.from(without, 'latin1'));
  if (left) return `left in the output at ${left.at}: ${JSON.stringify(expected.text)}`;
  for (const pieces of [
    body.length < MAX_BYTEWISE ? bytewise(body) : random.split(body, 50),
    random.split(body, 1),
    random.split(body, 4),
    random.split(body, 30),
  ]) {
    const wrong = difference(expected, streamed(patterns, pieces));
    if (wrong)
      return `${wrong}, cut as ${pieces.length === body.length ? 'single bytes' : pieces.map(piece => piece.length).join(' ')}`;
  }
  return null;
}

/** Secrets that do not look like escapes are found just where reading at each place, one after the other, finds one. */
function missed({ patterns, secrets, body }: Case): string | null {
  if (body.length >= MAX_BYTEWISE || secrets.some(value => INTRODUCER.test(value))) return null;
  const reader = new Reader(body.length + 4);
  reader.over(body, body.length, true);
  const all = secrets.flatMap(value => spellings(new Secret('', value)));
  let first = 0;
  while (first < body.length && !all.some(spelling => reader.read(spelling, first) > 0)) first++;
  const found = patterns.find(body);
  if (found ? first < body.length && found.at <= first : first === body.length) return null;
  return `found at ${found?.at}, where reading finds it at ${first}`;
}

function difference(expected: Scrubbed, got: Scrubbed): string | null {
  if (got.text !== expected.text)
    return `whole ${JSON.stringify(expected.text)}, streamed ${JSON.stringify(got.text)}`;
  return got.hits === expected.hits ? null : `${expected.hits} hits whole, ${got.hits} streamed`;
}

function secretsOf(random: Random): string[] {
  const secrets = Array.from({ length: 1 + random.below(3) }, () => secret(random));
  if (random.chance(4)) secrets.push(`${secrets[0]}${secret(random)}`);
  if (random.chance(4))
    secrets.push(
      `${secret(random)}${Array.from(secrets[0] as string)
        .slice(0, 9)
        .join('')}`,
    );
  return secrets;
}

function bodyOf(secrets: readonly string[], random: Random): { body: Buffer; planted: number } {
  const parts: Buffer[] = [];
  let planted = 0;
  for (let i = random.below(random.pick([1, 6])); i >= 0; i--) {
    parts.push(filler(random));
    if (random.chance(4)) continue;
    const [bytes, isWhole] = plant(random.pick(secrets), random);
    parts.push(bytes);
    if (isWhole) planted++;
  }
  parts.push(filler(random));
  return { body: Buffer.concat(parts), planted };
}

function secret(random: Random): string {
  const from = Array.from(random.pick(SECRET_CHARACTERS));
  for (;;) {
    const text = Array.from({ length: 8 + random.below(24) }, () => random.pick(from)).join('');
    if (Buffer.byteLength(text.trim()) >= 8) return text.trim();
  }
}

const filler = (random: Random): Buffer =>
  Buffer.from(
    Array.from({ length: random.below(4) }, () => random.pick(random.chance(3) ? WORDS : FILLERS)).join(''),
  );

/** The secret in one of the spellings, or in a mix of them, or most of it; and whether it is all there. */
function plant(value: string, random: Random): [Buffer, boolean] {
  if (random.chance(3)) return [mixed(value, random), true];
  const bytes = WRITERS[random.pick(NAMES)]?.(value) as Buffer;
  if (random.chance(4)) return [bytes.subarray(random.below(3), bytes.length - random.below(3)), false];
  return [bytes, true];
}

/**
 * Each character in a spelling of its own, in as many rounds as it likes; or, for a secret that itself looks like
 * escapes, in one round for all, or in two.
 */
function mixed(value: string, random: Random): Buffer {
  if (!INTRODUCER.test(value) && random.chance(2))
    return Buffer.from(
      Array.from(value, c => (random.chance(3) ? written(random.pick(ANY_CHARACTER), c) : c)).join(''),
    );
  const once = mixedOnce(value, random);
  return Buffer.from(random.chance(3) ? mixedOnce(once, random) : once);
}

/** What may introduce an escape is always escaped, as every writer does. */
const mixedOnce = (value: string, random: Random): string =>
  Array.from(value, c =>
    INTRODUCER.test(c) || random.chance(3) ? written(random.pick(ONE_ROUND), c) : c,
  ).join('');

const written = (spelling: string, text: string): string => String(WRITERS[spelling]?.(text));

const INTRODUCER = /[%&\\]/;
const ONE_ROUND = [
  'percent, every byte, upper case',
  'JSON, each character escaped',
  'HTML, decimal',
  'HTML, hex',
];
const ANY_CHARACTER = [
  ...ONE_ROUND,
  'percent, every byte, twice',
  'HTML in JSON',
  'JSON, each character escaped, twice',
];
