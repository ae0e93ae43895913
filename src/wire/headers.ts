import { Refusal } from '../errors.ts';
import { get, HOP_BY_HOP_NAMES, listOf, Names } from '../fields.ts';
import type { RawHeaders } from '../types.ts';

/** The codec writes the framing anew on each leg. */
const FRAMING = new Names(...HOP_BY_HOP_NAMES, 'content-length');

/**
 * The fields to forward: neither hop-by-hop, nor named by Connection, nor framing, nor one of `withheld`.
 * A proxy that keeps a field of the hop before lets the two ends disagree (RFC 9110, section 7.6.1).
 */
export function endToEnd(headers: RawHeaders, withheld?: Names): string[] {
  const kept: string[] = [];
  let nominated: Set<string> | undefined;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    const value = headers[i + 1] as string;
    const dropped = FRAMING.find(name);
    if (dropped === 'connection') nominated = nominate(nominated, value);
    else if (dropped === undefined && withheld?.has(name) !== true) kept.push(name, value);
  }
  return nominated ? without(kept, nominated) : kept;
}

function nominate(nominated: Set<string> | undefined, value: string): Set<string> | undefined {
  if (value === 'keep-alive' || value === 'close') return nominated;
  const names = nominated ?? new Set<string>();
  for (const option of listOf(value)) names.add(option);
  return names;
}

function without(headers: RawHeaders, names: ReadonlySet<string>): string[] {
  const kept: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    if (!names.has(name.toLowerCase())) kept.push(name, headers[i + 1] as string);
  }
  return kept;
}

/** Throws `upgrade_refused` for a request that asks for another protocol. */
export function refuseUpgrade(headers: RawHeaders): void {
  const upgrade = get(headers, 'upgrade');
  if (upgrade !== undefined && !isIgnorable(upgrade)) throw new Refusal('upgrade_refused');
}

/** Whether an Upgrade names only what clients offer and go on without: HTTP/2 and TLS (RFC 9110, section 7.8). */
export function isIgnorable(upgrade: string): boolean {
  return listOf(upgrade).every(protocol => protocol === 'h2c' || /^tls\/[0-9.]+$/.test(protocol));
}
