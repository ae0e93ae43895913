import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { tryClient } from './h2-client.ts';
import { damaged } from './h2-making.ts';
import { hostFor, openPlace, type Place, SEED_HOST, seedHostFor } from './h2-place.ts';
import { tryUpstream } from './h2-upstream.ts';
import { Random } from './random.ts';

export const name = 'h2';

const MAX_FINDINGS = 10;
const SEEDS = join(import.meta.dirname, 'seeds', 'h2');
/** One trial in so many begins with a seed; in most of those it is damaged. */
const SEEDED = 20;

/** Frames in hex, of a client or an upstream as the file's name begins. */
const seedsOf = (whose: string): Buffer[] =>
  readdirSync(SEEDS)
    .filter(file => file.startsWith(whose))
    .map(file => Buffer.from(readFileSync(join(SEEDS, file), 'latin1').replaceAll('\n', ''), 'hex'));
let seeded = 0;
const CLIENT_SEEDS = seedsOf('client');
const UPSTREAM_SEEDS = seedsOf('upstream');

/**
 * Whatever frames a client or an upstream sends: the gate neither fails nor hangs; what goes on is what an independent
 * reader of RFC 9113 and RFC 7541 reads, whole or seen to be cut; and each request has one line in the audit.
 */
export async function run(
  deadlineMs: number,
  first = Number(process.env['FUZZ_SEED'] ?? Math.trunc(Math.random() * 2 ** 31)),
): Promise<{ executions: number; findings: string[] }> {
  const findings: string[] = [];
  let executions = 0;
  const crashed = (error: unknown): void => void findings.push(`uncaught: ${String((error as Error).stack)}`);
  process.on('uncaughtException', crashed);
  const place = await openPlace();
  while (performance.now() < deadlineMs && findings.length < MAX_FINDINGS) {
    const seed = first + executions++;
    const wrong = await tryOne(place, new Random(seed), executions);
    if (wrong) findings.push(`FUZZ_SEED=${seed}: ${wrong}`);
  }
  if (place.audit.repeated) findings.push(`audited twice: ${place.audit.repeated}`);
  await place.close();
  process.off('uncaughtException', crashed);
  return { executions, findings };
}

async function tryOne(place: Place, random: Random, n: number): Promise<string | null> {
  const isClient = random.chance(2);
  const seeds = isClient ? CLIENT_SEEDS : UPSTREAM_SEEDS;
  const seed = random.chance(SEEDED) ? damaged(random.pick(seeds), random) : undefined;
  try {
    if (!isClient) return await tryUpstream(place, random, seed);
    if (!seed) return await tryClient(place, random, hostFor(n));
    const host = seedHostFor(seeded++);
    const text = seed.toString('latin1').replaceAll(SEED_HOST, host);
    return await tryClient(place, random, host, Buffer.from(text, 'latin1'));
  } catch (error) {
    return `threw ${String((error as Error).stack)}`;
  }
}
