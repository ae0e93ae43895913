import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { TestRedis } from '../support/redis.ts';
import type { VaultServer } from '../support/upstreams/vault.ts';
import type { GateProcess } from './gate.ts';
import { OVERLAP_MS, type Secrets } from './secrets.ts';
import type { Windows } from './windows.ts';

/** Time that the gate takes to notice that a fault is over, ms. */
const AFTER_MS = 12_000;

export interface Victims {
  readonly dir: string;
  readonly gate: GateProcess;
  readonly vault: VaultServer;
  readonly redis: TestRedis | undefined;
  readonly secrets: Secrets;
  readonly windows: Windows;
  /** Text of the configuration, with a comment that makes it another one. */
  readonly config: (generation: number) => string;
}

export interface FaultCounts {
  reloads: number;
  badReloads: number;
  rotations: number;
}

const pick = <T>(all: readonly T[]): T => all[Math.floor(Math.random() * all.length)] as T;

/** Configurations that must not be used, in turn. */
const BAD = ['', 'version: 1\nrules: [', 'version: 1\nrules:\n  - { nam: x }\n', '\u0000'];

/**
 * One thing after the other goes wrong until `signal` says to stop; then all is well again. `pause`: ms between them.
 */
export async function harass(victims: Victims, pause: number, signal: AbortSignal): Promise<FaultCounts> {
  const counts: FaultCounts = { reloads: 0, badReloads: 0, rotations: 0 };
  const turns = [
    () => rotate(victims, counts),
    () => reload(victims, counts),
    () => breakVault(victims, signal),
    () => reload(victims, counts),
    () => breakRedis(victims, signal),
    () => badReload(victims, counts, signal),
    () => killWorker(victims, signal),
  ];
  for (let turn = 0; !signal.aborted; turn++) {
    await sleep(pause, signal);
    if (signal.aborted) break;
    await (turns[turn % turns.length] as () => Promise<void>)();
  }
  return counts;
}

/** Mostly with an overlap, as issuers do; now and then without. */
async function rotate({ dir, secrets, vault, windows }: Victims, counts: FaultCounts): Promise<void> {
  const isHard = ++counts.rotations % 3 === 0;
  const over = isHard ? windows.begin('rotation', OVERLAP_MS) : undefined;
  writeSecret(dir, secrets.rotate('alpha', isHard ? 0 : OVERLAP_MS));
  vault.secrets['bots/beta'] = [{ key: secrets.rotate('beta', isHard ? 0 : OVERLAP_MS) }];
  over?.();
}

export function writeSecret(dir: string, value: string): void {
  writeFileSync(join(dir, 'secrets', 'alpha'), value, { mode: 0o600 });
}

async function reload({ dir, gate, config }: Victims, counts: FaultCounts): Promise<void> {
  writeFileSync(join(dir, 'stubgate.yaml'), config(++counts.reloads));
  // By itself, or told to.
  if (counts.reloads % 2 === 0) gate.reload();
}

async function badReload(
  { dir, gate, config }: Victims,
  counts: FaultCounts,
  signal: AbortSignal,
): Promise<void> {
  writeFileSync(join(dir, 'stubgate.yaml'), BAD[counts.badReloads++ % BAD.length] as string);
  gate.reload();
  await sleep(2000, signal);
  writeFileSync(join(dir, 'stubgate.yaml'), config(counts.reloads));
  gate.reload();
}

async function breakVault({ vault, windows }: Victims, signal: AbortSignal): Promise<void> {
  const over = windows.begin('vault', AFTER_MS);
  const how = pick(['503', 'cut', 'hang'] as const);
  vault.fault = (_, response) => {
    if (how === '503') response.writeHead(503).end('{"errors":["Vault is sealed"]}');
    else if (how === 'cut') response.destroy();
    return true;
  };
  await sleep(8000, signal);
  vault.fault = undefined;
  over();
}

/** For a moment, which nobody may notice, or for longer than the grace. */
async function breakRedis({ redis, windows }: Victims, signal: AbortSignal): Promise<void> {
  if (!redis) return;
  const over = windows.begin('redis', AFTER_MS);
  await redis.stop();
  await sleep(pick([500, 8000]), signal);
  await redis.start();
  over();
}

/** Its tunnels break, and another one takes its place. */
async function killWorker({ gate, windows }: Victims, signal: AbortSignal): Promise<void> {
  const { workers } = gate;
  if (workers.length === 0) return;
  const over = windows.begin('worker', AFTER_MS);
  process.kill(pick(workers), 'SIGKILL');
  for (let tries = 0; tries < 100 && gate.workers.length < workers.length; tries++) await sleep(100, signal);
  over();
}

async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => {});
}
