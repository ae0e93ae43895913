import { METHODS } from 'node:http';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { has } from '../../src/fields.ts';
import { type Reading, type Readings, readRequests, readResponse } from '../wire/readings.ts';
import { llhttpRequests, llhttpResponse } from './llhttp.ts';
import { damage, requests, response } from './messages.ts';
import { Random } from './random.ts';

export const name = 'h1';

const MAX_FINDINGS = 10;
const seedFolder = join(import.meta.dirname, 'seeds', 'h1');

/** Whatever our codec accepts, llhttp reads in the same way; and no way of cutting the input changes what is read. `first`: seed. */
export async function run(
  deadlineMs: number,
  first = Math.trunc(Math.random() * 2 ** 31),
): Promise<{ executions: number; findings: string[] }> {
  const seeds = readdirSync(seedFolder).map(file => readFileSync(join(seedFolder, file)));
  const findings: string[] = [];
  let executions = 0;
  while (performance.now() < deadlineMs && findings.length < MAX_FINDINGS) {
    const random = new Random(first + executions++);
    const input = random.chance(20) && seeds.length > 0 ? damage(random.pick(seeds), random) : null;
    const isRequest = random.chance(2);
    const bytes = input ?? (isRequest ? requests(random) : response(random));
    const wrong = isRequest ? await tryRequests(bytes, random) : await tryResponse(bytes, random);
    if (wrong) findings.push(`${wrong}: ${JSON.stringify(bytes.toString('latin1'))}`);
  }
  return { executions, findings };
}

async function tryRequests(bytes: Buffer, random: Random): Promise<string | null> {
  const connect = random.chance(2);
  const read = (pieces: Buffer[]): Readings => readRequests(pieces, connect);
  const ours = read([bytes]);
  return variance(ours, bytes, random, read) ?? disagreement(ours, await llhttpRequests(bytes));
}

async function tryResponse(bytes: Buffer, random: Random): Promise<string | null> {
  const method = random.pick(['GET', 'GET', 'POST', 'HEAD']);
  const fin = random.chance(2);
  const read = (pieces: Buffer[]): Readings => readResponse(pieces, method, fin);
  const ours = read([bytes]);
  return variance(ours, bytes, random, read) ?? disagreement(ours, await llhttpResponse(bytes, method, fin));
}

/** What changes with the way the input is cut. */
function variance(
  whole: Readings,
  bytes: Buffer,
  random: Random,
  read: (pieces: Buffer[]) => Readings,
): string | null {
  const expected = essence(whole);
  for (const cuts of [1, 3, bytes.length * 2]) {
    const pieces = random.split(bytes, cuts);
    const got = essence(read(pieces));
    if (got !== expected) return `cut at ${pieces.map(p => p.length).join()}: ${got} instead of ${expected}`;
  }
  return null;
}

function essence({ messages, state, tunnel }: Readings): string {
  return JSON.stringify({ messages, state, tunnel });
}

/** Where llhttp reads something else than what we accepted. */
function disagreement(ours: Readings, theirs: Readings): string | null {
  for (const [i, message] of ours.messages.entries()) {
    const [method] = message.start;
    if (typeof method === 'string' && !METHODS.includes(method)) return null;
    const wrong = difference(message, theirs.messages[i]);
    if (wrong) return `message ${i}, ${wrong}`;
    if (offersUpgrade(message)) return null;
  }
  if (ours.tunnel !== null && ours.tunnel !== theirs.tunnel) return `tunnel: ${theirs.tunnel}`;
  const isFollowed = ours.state === 'waiting' && theirs.messages.length > ours.messages.length;
  return isFollowed ? `llhttp reads ${theirs.messages.length} messages, we ${ours.messages.length}` : null;
}

/** Behind such an offer llhttp waits for the other protocol; we ignore it, as RFC 9110, section 7.8 allows. */
function offersUpgrade({ headers }: Reading): boolean {
  return has(headers, 'upgrade') && headers.some(text => /\bupgrade\b/i.test(text));
}

function difference(ours: Reading, theirs: Reading | undefined): string | null {
  if (!theirs) return 'llhttp reads none';
  if (ours.start.join(' ') !== theirs.start.join(' ')) return `llhttp reads ${theirs.start.join(' ')}`;
  if (ours.headers.join('\n') !== theirs.headers.join('\n'))
    return `llhttp reads headers ${theirs.headers.join('|')}`;
  if (ours.state === 'cut') return null;
  if (ours.body !== theirs.body)
    return `llhttp reads body ${JSON.stringify(theirs.body)} for ${JSON.stringify(ours.body)}`;
  // What is not accepted yet, llhttp may have refused already.
  if (ours.state === 'open' && theirs.state === 'cut') return null;
  if (ours.state !== theirs.state) return `llhttp: ${theirs.state}, we: ${ours.state}`;
  if (ours.trailers.join('\n') !== theirs.trailers.join('\n'))
    return `llhttp reads trailers ${theirs.trailers.join('|')}`;
  if (ours.keepAlive && !theirs.keepAlive) return 'llhttp would close';
  return null;
}
