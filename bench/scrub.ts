import { createHash } from 'node:crypto';
import { Patterns } from '../src/scrub/patterns.ts';
import { Scrubber } from '../src/scrub/scrubber.ts';
import { Secret } from '../src/secret.ts';
import type { Sink } from '../src/types.ts';
import { misused, optionsOf } from './usage.ts';

const HELP = `Throughput of the scrub on one core: MB/s by corpus and number of secrets, and the cost of one small body.

npx node bench/scrub.ts [options]
  --corpus NAME   one of them, may be there more than once (all)
  --json          MB/s alone
  --help`;

const CHUNK = 64 * 1024;
const CORPUS_BYTES = 8 * 1024 * 1024;
const SECRET_COUNTS = [1, 10, 100];
const WARM_UP = 50_000;
const ENOUGH = 250_000;

/** Bytes that look random and are the same in each run. */
function noise(length: number): Buffer {
  const blocks: Buffer[] = [];
  for (let n = 0; n * 64 < length; n++) blocks.push(createHash('sha512').update(`noise ${n}`).digest());
  return Buffer.concat(blocks).subarray(0, length);
}

const random = noise(CORPUS_BYTES);
let drawn = 0;
const draw = (below: number): number =>
  random.readUInt32LE((drawn = (drawn + 4) % (CORPUS_BYTES - 4))) % below;

const WORDS =
  'the gate request answers <b>bold</b> connection of "quoted" text path/to/file 2026-11-21 id=4711 café'.split(
    ' ',
  );
const words = (count: number): string =>
  Array.from({ length: count }, () => WORDS[draw(WORDS.length)]).join(' ');

function filled(line: () => string): Buffer {
  const lines: string[] = [];
  for (let bytes = 0; bytes < CORPUS_BYTES; bytes += (lines.at(-1) as string).length) lines.push(line());
  return Buffer.from(lines.join('')).subarray(0, CORPUS_BYTES);
}

const record = (): object => ({
  id: draw(1e6),
  url: `https://example.com/${words(2)}`,
  text: `${words(6)}\n\t${words(5)}`,
  ok: true,
});
const html = (): string =>
  `<p class="x">${words(12).replaceAll('"', '&quot;').replaceAll('<', '&lt;')} &amp; more&nbsp;</p>\n`;

const corpora: Readonly<Record<string, () => Buffer>> = {
  'random binary': () => random,
  'base64 text': () => Buffer.from(random.toString('base64')).subarray(0, CORPUS_BYTES),
  'log text': () =>
    filled(() => `2026-11-21T03:15:00.${draw(1000)}Z INFO ${words(9)} duration=${draw(500)}ms\n`),
  'hex text': () => Buffer.from(random.toString('hex')).subarray(0, CORPUS_BYTES),
  'plain JSON': () =>
    filled(() => JSON.stringify({ id: draw(1e6), sha: draw(1e9), name: `item-${draw(1e6)}`, ok: true })),
  'JSON, many escapes': () => filled(() => JSON.stringify(record()).replaceAll('/', '\\/')),
  'JSON in JSON': () => filled(() => JSON.stringify(JSON.stringify(record()))),
  HTML: () => filled(html),
  'all %': () => Buffer.alloc(CORPUS_BYTES, '%'),
  '%25 run': () => Buffer.alloc(CORPUS_BYTES, '%25'),
  'all backslashes': () => Buffer.alloc(CORPUS_BYTES, '\\'),
};

const secrets = (count: number): Secret[] =>
  Array.from({ length: count }, (_, n) => {
    const value = createHash('sha512')
      .update(`secret ${n}`)
      .digest('base64')
      .replaceAll(/[+/=]/g, '')
      .slice(0, 36);
    return new Secret(`s${n}`, `ghp_${value}`);
  });

const drop: Sink = { write: () => true, end: () => undefined, abort: () => undefined, onDrain: null };
const stub = (): string => 'stub_0123456789';

/** CPU time of this thread in µs: other load on the machine does not count. */
const cpu = (): number => process.threadCpuUsage().user + process.threadCpuUsage().system;

/** CPU time of a call in µs, the mean over `ENOUGH` µs, for the clock is coarse. */
function cost(call: () => void): number {
  for (const until = cpu() + WARM_UP; cpu() < until; ) call();
  const start = cpu();
  let calls = 0;
  let spent = 0;
  while (spent < ENOUGH) {
    call();
    calls++;
    spent = cpu() - start;
  }
  return spent / calls;
}

function megabytesPerSecond(patterns: Patterns, corpus: Buffer): number {
  const micros = cost(() => {
    const stage = new Scrubber(patterns, stub).body(drop);
    for (let at = 0; at < corpus.length; at += CHUNK) stage.write(corpus.subarray(at, at + CHUNK));
    stage.end([]);
  });
  return corpus.length / micros;
}

function nanosecondsPerCall(call: () => void): number {
  const calls = 2_000;
  const micros = cost(() => {
    for (let i = 0; i < calls; i++) call();
  });
  return (micros * 1e3) / calls;
}

const head = Buffer.from(
  'GET /repos/acme/app/issues?state=open%2Cclosed HTTP/1.1\r\nhost: api.github.com\r\nuser-agent: curl/8.5.0\r\naccept: */*\r\n' +
    'authorization: Bearer ghp_stubstubstubstubstubstubstubstubstub\r\nx-request-id: 0123456789abcdef\r\naccept-encoding: gzip, br\r\n\r\n',
);
const fields =
  'content-type|application/json|date|Sat, 21 Nov 2026 03:15:00 GMT|etag|"abc"|x-id|12345|server|x|vary|accept'.split(
    '|',
  );
const body = Buffer.from(
  JSON.stringify(
    Array.from({ length: 4 }, (_, id) => ({ id, name: `item-${id}`, url: 'https://example.com/x' })),
  ),
);

const values = optionsOf(HELP, {
  corpus: { type: 'string', multiple: true },
  json: { type: 'boolean', default: false },
});
const chosen = values.corpus ?? Object.keys(corpora);
if (!chosen.every(name => Object.hasOwn(corpora, name)))
  misused(HELP, `--corpus: one of ${Object.keys(corpora).join(', ')}`);
const compiled = SECRET_COUNTS.map(count => new Patterns(secrets(count)));

/** MB/s for each number of secrets. */
function speeds(name: string): number[] {
  const corpus = (corpora[name] as () => Buffer)();
  return compiled.map(patterns => megabytesPerSecond(patterns, corpus));
}

function printTables(): void {
  const columns = (cells: readonly (number | string)[]): string =>
    cells.map(cell => (typeof cell === 'number' ? cell.toFixed(0) : cell).padStart(14)).join('');
  console.log(`${'MB/s'.padEnd(24)}${columns(SECRET_COUNTS.map(count => `${count} secrets`))}`);
  for (const name of chosen) console.log(`${name.padEnd(24)}${columns(speeds(name))}`);
  const calls: Readonly<Record<string, (patterns: Patterns) => void>> = {
    [`find, head of ${head.length} B`]: patterns => patterns.find(head),
    [`whole, JSON of ${body.length} B`]: patterns => new Scrubber(patterns, stub).whole(body),
    [`headers, ${fields.length / 2} fields`]: patterns => new Scrubber(patterns, stub).headers(fields),
  };
  console.log(`\n${'ns per call'.padEnd(24)}`);
  for (const [name, call] of Object.entries(calls)) {
    const cells = compiled.map(patterns => nanosecondsPerCall(() => call(patterns)));
    console.log(`${name.padEnd(24)}${columns(cells)}`);
  }
}

if (values.json)
  console.log(
    JSON.stringify({
      secrets: SECRET_COUNTS,
      ...Object.fromEntries(chosen.map(name => [name, speeds(name)])),
    }),
  );
else printTables();
