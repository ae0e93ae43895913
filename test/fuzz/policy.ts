import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { parseConfig } from '../../src/config/load.ts';
import { ConfigError } from '../../src/config/problems.ts';
import { classify, mayDial, parseCidr } from '../../src/policy/address.ts';
import { compileGlob, globFault } from '../../src/policy/glob.ts';
import { canonicalHost, canonicalRuleHost, type RuleHost } from '../../src/policy/host.ts';
import { formatIp, parseIp } from '../../src/policy/ip.ts';
import { canonicalPath, percentDecodings } from '../../src/policy/path.ts';
import { compileTable, decide, type RuleSpec } from '../../src/policy/table.ts';
import type { CanonicalHost } from '../../src/types.ts';
import { Random } from './random.ts';

export const name = 'policy';

const MAX_FINDINGS = 10;
const CANARY = 'Zq7%canary';
const HOST_PIECES = [
  ...Array.from('.-_:[]%@/\\*0179afxzAZ'),
  '..',
  '127.0.0.1',
  '0x7f',
  '0177',
  '::',
  '::ffff:',
  'xn--',
  'a.example',
  'é',
  '。',
  '\0',
  ' ',
  'a'.repeat(63),
];
const PATH_PIECES = [
  ...Array.from('/.;%?#\\*ab~'),
  '//',
  '..',
  '%2e',
  '%2E',
  '%2f',
  '%5c',
  '%25',
  '%252e',
  '%25%32%65',
  '%00',
  '%c0%ae',
  '%61',
  '%zz',
  '\x7f',
  'é',
  ' ',
  ';v=1',
  '{}',
];
const GLOB_PIECES = ['/', '/', 'a', 'b', '*', '**', '/**', '/*', '%2F', '%61'];
const YAML_PIECES = [
  '\n',
  '  ',
  '- ',
  ': ',
  '{',
  '}',
  '[',
  ']',
  '"',
  "'",
  '#',
  '|',
  '>',
  '&a ',
  '*a',
  '!x ',
  '---\n',
  '<<: ',
  '? ',
  '\t',
  '\0',
  'null',
  '~',
  '1e9',
  '*',
  '😀',
  '\ud800',
  CANARY,
];

const fixtures = new URL('../config/fixtures/', import.meta.url);
const CONFIGS = [
  readFileSync(new URL('every-key.yaml', fixtures), 'utf8'),
  ...readdirSync(new URL('bad/', fixtures))
    .filter(file => file.endsWith('.yaml'))
    .map(file => readFileSync(new URL(`bad/${file}`, fixtures), 'utf8')),
];
const EVERYWHERE = [parseCidr('0.0.0.0/0'), parseCidr('::/0')].filter(range => range !== undefined);

const TRIALS: readonly ((random: Random) => string | null)[] = [
  tryHost,
  tryPath,
  tryDeny,
  tryGlob,
  tryAddress,
  tryConfig,
];

/** Hosts, paths, globs and addresses are read in one way; a configuration loads or tells problems, and shows no value. */
export async function run(deadlineMs: number): Promise<{ executions: number; findings: string[] }> {
  const first = Math.trunc(Math.random() * 2 ** 31);
  const findings: string[] = [];
  let executions = 0;
  while (performance.now() < deadlineMs && findings.length < MAX_FINDINGS) {
    const random = new Random(first + executions);
    const trial = TRIALS[executions++ % TRIALS.length] as (random: Random) => string | null;
    const finding = attempt(trial, random);
    if (finding !== null) findings.push(`${trial.name}: ${finding}`);
  }
  return { executions, findings };
}

function attempt(trial: (random: Random) => string | null, random: Random): string | null {
  try {
    return trial(random);
  } catch (error) {
    return `threw ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
  }
}

/** Reading again what was read changes nothing, and a URL parser reads the same host. */
function tryHost(random: Random): string | null {
  const text = mix(random, HOST_PIECES, 6);
  const rule = canonicalRuleHost(text);
  if (rule !== undefined && canonicalRuleHost(rule) !== rule)
    return `rule host ${JSON.stringify(text)} reads as ${rule}, that as another`;
  const host = canonicalHost(text);
  if (host === undefined) return null;
  const written = host.includes(':') ? `[${host}]` : host;
  if (canonicalHost(written) !== host) return `${JSON.stringify(text)} reads as ${host}, that as another`;
  const url = URL.parse(`http://${text}/`);
  if (url === null) return host.includes('xn--') ? null : `a URL parser refuses ${JSON.stringify(text)}`;
  const theirs = canonicalHost(url.hostname);
  return theirs === host ? null : `a URL parser reads ${JSON.stringify(text)} as ${theirs}, not ${host}`;
}

/** An accepted path has no dot segment in any reading, and a URL parser leaves it where it is. */
function tryPath(random: Random): string | null {
  const target = `${random.chance(10) ? '' : '/'}${mix(random, PATH_PIECES, 8)}`;
  const read = canonicalPath(target);
  if (!read) return null;
  if (read.path + read.query !== target) return `${JSON.stringify(target)} was changed`;
  for (const reading of percentDecodings(read.path)) {
    if (reading.split('/').some(segment => /^\.\.?(?:;|$)/.test(segment)))
      return `${JSON.stringify(target)} holds a dot segment`;
  }
  const url = URL.parse(`http://a.example${target}`);
  const theirs = url && percentDecodings(url.pathname).at(-1);
  if (url?.host !== 'a.example' || theirs !== percentDecodings(read.path).at(-1)) {
    return `a URL parser reads ${JSON.stringify(target)} as ${url?.href}`;
  }
  return null;
}

/** A row that denies what a lenient server reads denies every spelling that it reads so. */
function tryDeny(random: Random): string | null {
  const read = canonicalPath(`/${mix(random, PATH_PIECES, 6)}`);
  if (!read) return null;
  for (const decoded of percentDecodings(read.path)) {
    const resource = posix.normalize(decoded.replace(/;[^/]*/g, ''));
    if (globFault(resource) !== undefined || resource.includes('*')) continue;
    const table = compileTable([rule('deny', [resource]), rule('allow')]);
    const target = {
      scheme: 'https',
      host: 'a.example' as CanonicalHost,
      port: 443,
      method: 'GET',
      path: read.path,
    } as const;
    if (decide(table, target).verdict === 'allow')
      return `${JSON.stringify(read.path)} slips by a row that denies ${resource}`;
  }
  return null;
}

/** A glob says what the same regular expression says. */
function tryGlob(random: Random): string | null {
  const glob = `/${mix(random, GLOB_PIECES, 6)}`;
  if (globFault(glob) !== undefined) return null;
  const path = `/${mix(random, ['/', 'a', 'b', 'ab', '%2F', '%61'], 8)}`;
  const segments = glob.split('/').slice(1);
  const pattern = segments.map(segment => {
    if (segment === '**') return '(?:/[^/]*)*';
    if (segment === '*') return '/[^/]+';
    return `/${segment.replaceAll('*', '[^/]*')}`;
  });
  const expected = new RegExp(`^${pattern.join('')}$`).test(path);
  return compileGlob(glob)(path) === expected ? null : `${glob} on ${path}: not ${expected}`;
}

/** An address has a class, the same in every spelling of it, and metadata is never dialled. */
function tryAddress(random: Random): string | null {
  const v4 = Array.from({ length: 4 }, () =>
    random.pick([0, 1, 10, 127, 169, 172, 192, 254, random.below(256)]),
  ).join('.');
  const text = random.chance(3) ? mix(random, HOST_PIECES, 4) : v4;
  const is = classify(text);
  const ip = parseIp(text);
  if ((ip === undefined) !== (is === 'invalid')) return `${JSON.stringify(text)} is ${is}`;
  if ((is === 'metadata' || is === 'invalid') && mayDial(text, EVERYWHERE))
    return `${JSON.stringify(text)} may be dialled`;
  if (ip && classify(formatIp(ip)) !== is) return `${text} is ${is}, ${formatIp(ip)} is not`;
  if (ip?.bits !== 32) return null;
  const mapped = `::ffff:${text}`;
  if (classify(mapped) !== is) return `${text} is ${is}, ${mapped} is ${classify(mapped)}`;
  const translated = `64:ff9b::${text}`;
  return classify(translated) === is ? null : `${text} is ${is}, ${translated} is ${classify(translated)}`;
}

/** A damaged configuration loads, or tells problems at places that are in the file, without any value from it. */
function tryConfig(random: Random): string | null {
  let text = random.pick(CONFIGS);
  for (let cuts = 1 + random.below(4); cuts > 0; cuts--) {
    const at = random.below(text.length + 1);
    const dropped = random.chance(2) ? 0 : random.below(12);
    text = text.slice(0, at) + (random.chance(4) ? '' : random.pick(YAML_PIECES)) + text.slice(at + dropped);
  }
  try {
    parseConfig(text, '/x.yaml');
    return null;
  } catch (error) {
    if (!(error instanceof ConfigError) || error.problems.length === 0)
      throw new Error(`on ${JSON.stringify(text)}`, { cause: error });
    if (error.message.includes(CANARY)) return `${JSON.stringify(text)} is quoted: ${error.message}`;
    const lines = text.split('\n');
    const lost = error.problems.find(
      ({ line, col }) => line > lines.length || col > (lines[line - 1]?.length ?? 0) + 1,
    );
    return lost ? `${JSON.stringify(text)} has no ${lost.line}:${lost.col}` : null;
  }
}

function mix(random: Random, pieces: readonly string[], most: number): string {
  return Array.from({ length: random.below(most + 1) }, () => random.pick(pieces)).join('');
}

function rule(action: RuleSpec['action'], paths?: readonly string[]): RuleSpec {
  const hosts: RuleHost[] = ['a.example' as CanonicalHost];
  return {
    name: action,
    action,
    hosts,
    schemes: ['https'],
    injections: [],
    insecure: false,
    allowRange: false,
    ...(paths && { paths }),
  };
}
