import { Refusal } from '../errors.ts';
import type { RawHeaders } from '../types.ts';
import { Names } from './names.ts';

/** Names that concern one connection only (RFC 9110, section 7.6.1), old and unregistered ones included. */
const HOP_BY_HOP_NAMES = [
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authorization',
  'proxy-authenticate',
  'proxy-authentication-info',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
];
export const HOP_BY_HOP = new Names(...HOP_BY_HOP_NAMES);

/** The codec writes the framing anew on each leg. */
const NOT_FORWARDED = new Names(...HOP_BY_HOP_NAMES, 'content-length');

/** The first value of a field; `name` in lower case. */
export function get(headers: RawHeaders, name: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) {
    const candidate = headers[i] as string;
    if (candidate.length === name.length && candidate.toLowerCase() === name) return headers[i + 1];
  }
  return undefined;
}

/** `name` in lower case. */
export function has(headers: RawHeaders, name: string): boolean {
  return get(headers, name) !== undefined;
}

/** The fields whose lower-case name is not in `names`. */
export function without(headers: RawHeaders, names: ReadonlySet<string>): string[] {
  const kept: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    if (!names.has(name.toLowerCase())) kept.push(name, headers[i + 1] as string);
  }
  return kept;
}

/** The fields to forward: neither hop-by-hop, nor named by Connection, nor framing. */
export function endToEnd(headers: RawHeaders): string[] {
  const kept: string[] = [];
  let nominated: Set<string> | undefined;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    const value = headers[i + 1] as string;
    const dropped = NOT_FORWARDED.find(name);
    if (dropped === undefined) kept.push(name, value);
    else if (dropped === 'connection') nominated = nominate(nominated, value);
  }
  return nominated ? without(kept, nominated) : kept;
}

function nominate(nominated: Set<string> | undefined, value: string): Set<string> | undefined {
  if (value === 'keep-alive' || value === 'close') return nominated;
  const names = nominated ?? new Set<string>();
  for (const option of listOf(value)) names.add(option);
  return names;
}

/** Members of a comma-separated list, in lower case (RFC 9110, section 5.6.1). */
export function listOf(value: string): string[] {
  const members = value.toLowerCase().split(/[ \t]*,[ \t]*/);
  return members.filter(member => member !== '');
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

/** Field lines, each ended by CRLF. */
export function fieldLines(headers: RawHeaders): string {
  let lines = '';
  for (let i = 0; i < headers.length; i += 2) lines += `${headers[i]}: ${headers[i + 1]}\r\n`;
  return lines;
}
