/** An IP address as an unsigned number of `bits` bits. */
export interface Ip {
  readonly bits: 32 | 128;
  readonly value: bigint;
}

const IPV4 = /^(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})$/;
const GROUP = /^[0-9a-fA-F]{1,4}$/;
/** ::ffff:0:0/96, IPv4-mapped (RFC 4291, section 2.5.5.2). */
const MAPPED = 0xffffn;

/** A strict IPv4 (RFC 6943, section 3.1.1: dotted decimal, no leading zeros) or IPv6 address (RFC 4291, section 2.2), without zone. */
export function parseIp(text: string): Ip | undefined {
  const [bits, value] = text.includes(':')
    ? ([128, parseIpv6(text)] as const)
    : ([32, parseIpv4(text)] as const);
  return value === undefined ? undefined : { bits, value };
}

/** Dotted decimal, or RFC 5952 text; IPv4-mapped addresses keep their dotted tail (RFC 5952, section 5). */
export function formatIp({ bits, value }: Ip): string {
  if (bits === 32) return formatIpv4(value);
  return value >> 32n === MAPPED ? `::ffff:${formatIpv4(value & 0xffffffffn)}` : formatIpv6(value);
}

/** The IPv4 address inside an IPv4-mapped one; any other address as it is. */
export function unmapped(ip: Ip): Ip {
  return ip.bits === 128 && ip.value >> 32n === MAPPED ? { bits: 32, value: ip.value & 0xffffffffn } : ip;
}

function parseIpv4(text: string): bigint | undefined {
  const octets = IPV4.exec(text)?.slice(1).map(Number);
  if (!octets || octets.some(octet => octet > 255)) return undefined;
  return octets.reduce((value, octet) => (value << 8n) | BigInt(octet), 0n);
}

function parseIpv6(text: string): bigint | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0] ?? '', halves.length === 1);
  const tail = parseGroups(halves[1] ?? '', true);
  if (!head || !tail) return undefined;
  const missing = 8 - head.length - tail.length;
  // `::` stands for at least one group.
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  const groups = [...head, ...Array<number>(missing).fill(0), ...tail];
  return groups.reduce((value, group) => (value << 16n) | BigInt(group), 0n);
}

function parseGroups(text: string, mayEndDotted: boolean): number[] | undefined {
  if (text === '') return [];
  const words = text.split(':');
  const dotted = mayEndDotted && words.at(-1)?.includes('.') ? words.pop() : undefined;
  if (!words.every(word => GROUP.test(word))) return undefined;
  const groups = words.map(word => Number.parseInt(word, 16));
  if (dotted === undefined) return groups;
  const value = parseIpv4(dotted);
  return value === undefined ? undefined : [...groups, Number(value >> 16n), Number(value & 0xffffn)];
}

function formatIpv4(value: bigint): string {
  return [24n, 16n, 8n, 0n].map(shift => String((value >> shift) & 0xffn)).join('.');
}

function formatIpv6(value: bigint): string {
  const groups = Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(112 - 16 * i)) & 0xffffn));
  const { start, length } = longestZeroRun(groups);
  const text = (part: number[]) => part.map(group => group.toString(16)).join(':');
  if (length < 2) return text(groups);
  return `${text(groups.slice(0, start))}::${text(groups.slice(start + length))}`;
}

/** The first of the longest runs of zero groups (RFC 5952, section 4.2.3). */
function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start++) {
    let end = start;
    while (groups[end] === 0) end++;
    if (end - start > best.length) best = { start, length: end - start };
  }
  return best;
}
