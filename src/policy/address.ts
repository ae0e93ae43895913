import { type Ip, parseIp, unmapped } from './ip.ts';

/** What kind of place an IP address names. Only `public` may be dialled without an operator's word; `metadata` and `invalid` never. */
export type AddressClass =
  | 'public'
  | 'metadata'
  | 'loopback'
  | 'private'
  | 'link-local'
  | 'cgnat'
  | 'multicast'
  | 'unspecified'
  | 'documentation'
  | 'benchmarking'
  | 'discard'
  | 'reserved'
  | 'invalid';

/** A range of addresses; `bits` is the address length, `prefix` the number of leading bits that count. */
export interface Cidr extends Ip {
  readonly prefix: number;
}

type Range = readonly [cidr: Cidr, is: AddressClass];
/** A range whose addresses hold an IPv4 address; `otherwise` is the class when that one is public. */
type Carrier = readonly [cidr: Cidr, embedded: (value: bigint) => readonly bigint[], otherwise: AddressClass];

const low32 = (value: bigint): bigint => value & 0xffffffffn;
const bitsFrom = (offset: number) => (value: bigint) => low32(value >> BigInt(96 - offset));

/** Where a cloud hands out credentials to whoever asks. `public` in no cloud's sense, whatever range they stand in. */
const METADATA: ReadonlySet<string> = new Set(
  [
    '169.254.169.254', // AWS, Azure, Google, Oracle, DigitalOcean, OpenStack, …
    '169.254.170.2', // AWS ECS task credentials
    '169.254.170.23', // AWS EKS Pod Identity
    'fd00:ec2::254', // AWS
    'fd00:ec2::23', // AWS EKS Pod Identity
    'fd20:ce::254', // Google
    'fe80::a9fe:a9fe', // OpenStack
    '100.100.100.200', // Alibaba
    '168.63.129.16', // Azure WireServer
    '192.0.0.192', // Oracle (classic)
    '169.254.0.23', // Tencent
    '169.254.42.42', // Scaleway
    'fd00:42::42', // Scaleway
  ].map(text => key(ip(text))),
);

/** IANA IPv4 Special-Purpose Address Registry (RFC 6890), and multicast (RFC 5771). All else is public. */
const IPV4: readonly Range[] = [
  [cidr('0.0.0.0/8'), 'unspecified'], // RFC 791; many systems connect 0.0.0.0 to themselves
  [cidr('10.0.0.0/8'), 'private'], // RFC 1918
  [cidr('100.64.0.0/10'), 'cgnat'], // RFC 6598
  [cidr('127.0.0.0/8'), 'loopback'], // RFC 1122
  [cidr('169.254.0.0/16'), 'link-local'], // RFC 3927
  [cidr('172.16.0.0/12'), 'private'], // RFC 1918
  [cidr('192.0.0.0/24'), 'reserved'], // RFC 6890
  [cidr('192.0.2.0/24'), 'documentation'], // RFC 5737
  [cidr('192.88.99.0/24'), 'reserved'], // RFC 7526, former 6to4 relays
  [cidr('192.168.0.0/16'), 'private'], // RFC 1918
  [cidr('198.18.0.0/15'), 'benchmarking'], // RFC 2544
  [cidr('198.51.100.0/24'), 'documentation'], // RFC 5737
  [cidr('203.0.113.0/24'), 'documentation'], // RFC 5737
  [cidr('224.0.0.0/4'), 'multicast'], // RFC 5771
  [cidr('240.0.0.0/4'), 'reserved'], // RFC 1112, and broadcast (RFC 919)
];

/** IANA IPv6 Special-Purpose Address Registry (RFC 6890). What is neither here nor in 2000::/3 is reserved (RFC 4291). */
const IPV6: readonly Range[] = [
  [cidr('::/128'), 'unspecified'], // RFC 4291
  [cidr('::1/128'), 'loopback'], // RFC 4291
  [cidr('100::/64'), 'discard'], // RFC 6666
  [cidr('2001:2::/48'), 'benchmarking'], // RFC 5180
  [cidr('2001:db8::/32'), 'documentation'], // RFC 3849
  [cidr('2001::/23'), 'reserved'], // RFC 2928: ORCHID (RFC 4843, 7343), DRIP (RFC 9374), AMT, …
  [cidr('3fff::/20'), 'documentation'], // RFC 9637
  [cidr('5f00::/16'), 'reserved'], // RFC 9602, segment routing
  [cidr('fc00::/7'), 'private'], // RFC 4193, unique local
  [cidr('fe80::/10'), 'link-local'], // RFC 4291
  [cidr('fec0::/10'), 'private'], // RFC 3879, former site-local
  [cidr('ff00::/8'), 'multicast'], // RFC 4291
];
const GLOBAL_UNICAST = cidr('2000::/3');

/** Ways to write, or to reach, an IPv4 address in IPv6. Asked before the ranges above. */
const CARRIERS: readonly Carrier[] = [
  [cidr('::ffff:0:0/96'), value => [low32(value)], 'public'], // RFC 4291, IPv4-mapped
  [cidr('64:ff9b::/96'), value => [low32(value)], 'public'], // RFC 6052, NAT64
  [cidr('64:ff9b:1::/48'), rfc6052, 'reserved'], // RFC 8215, NAT64 for local use
  [cidr('::ffff:0:0:0/96'), value => [low32(value)], 'reserved'], // RFC 2765, IPv4-translated
  [cidr('2002::/16'), value => [bitsFrom(16)(value)], 'reserved'], // RFC 3056, 6to4
  // RFC 4380, Teredo: the server, and the client's address with every bit turned over.
  [cidr('2001::/32'), value => [bitsFrom(32)(value), low32(~value)], 'reserved'],
  [cidr('::/96'), value => [low32(value)], 'reserved'], // RFC 4291, IPv4-compatible
];

/** The class of an address; `invalid` for any text that is not strictly one. Total: answers for every text. */
export function classify(text: string): AddressClass {
  const address = parseIp(text);
  return address ? classOf(address) : 'invalid';
}

/** Whether the gate may connect to an address. Metadata never; a place that is not public only inside an allowed range. */
export function mayDial(text: string, allowPrivate: readonly Cidr[]): boolean {
  const address = parseIp(text);
  if (!address) return false;
  const is = classOf(address);
  if (is === 'public' || is === 'metadata') return is === 'public';
  const dialled = unmapped(address);
  return allowPrivate.some(range => contains(range, dialled));
}

/** `10.0.0.0/8`, `fd00::/8`, or a single address; undefined if it is not one, or has bits set behind the prefix. */
export function parseCidr(text: string): Cidr | undefined {
  const range = parseRange(text);
  if (!range || range.prefix < 96) return range;
  const base = unmapped(range);
  return { ...base, prefix: range.prefix - (range.bits - base.bits) };
}

function parseRange(text: string): Cidr | undefined {
  const [, address = '', length] = /^([^/]+)(?:\/(0|[1-9]\d{0,2}))?$/.exec(text) ?? [];
  const base = parseIp(address);
  const prefix = length === undefined ? base?.bits : Number(length);
  if (!base || prefix === undefined || prefix > base.bits) return undefined;
  const rest = BigInt(base.bits - prefix);
  return (base.value >> rest) << rest === base.value ? { ...base, prefix } : undefined;
}

function classOf(address: Ip): AddressClass {
  if (METADATA.has(key(address))) return 'metadata';
  if (address.bits === 32) return IPV4.find(([range]) => contains(range, address))?.[1] ?? 'public';
  const own = ownClass(address);
  const inside = embedded(address).map(value => classOf({ bits: 32, value }));
  if (inside.includes('metadata')) return 'metadata';
  return own === 'loopback' || own === 'unspecified' ? own : (inside.find(is => is !== 'public') ?? own);
}

/** The class of an IPv6 address, whatever it carries. */
function ownClass(address: Ip): AddressClass {
  const named = IPV6.find(([range]) => contains(range, address));
  return named?.[1] ?? carrierOf(address)?.[2] ?? (contains(GLOBAL_UNICAST, address) ? 'public' : 'reserved');
}

function carrierOf(address: Ip): Carrier | undefined {
  return CARRIERS.find(([range]) => contains(range, address));
}

/** The IPv4 addresses that an IPv6 address may lead to. */
function embedded({ bits, value }: Ip): readonly bigint[] {
  const carried = carrierOf({ bits, value })?.[1](value) ?? [];
  // RFC 5214, section 6.1, ISATAP: below any prefix, the interface identifier 0000:5EFE or 0200:5EFE, then the address.
  const identifier = low32(value >> 32n) & ~0x02000000n;
  return identifier === 0x5efen ? [...carried, low32(value)] : carried;
}

/** Every place at which a prefix of 48, 56, 64 or 96 bits may put the IPv4 address; bits 64 to 71 are left out (RFC 6052, section 2.2). */
function rfc6052(value: bigint): readonly bigint[] {
  const high = value >> 64n;
  const low = value & 0xffffffffffffffn;
  const straight = (high << 56n) | low;
  return [...[48, 56, 64].map(offset => low32(straight >> BigInt(88 - offset))), low32(value)];
}

function contains(range: Cidr, { bits, value }: Ip): boolean {
  const rest = BigInt(range.bits - range.prefix);
  return bits === range.bits && value >> rest === range.value >> rest;
}

function key({ bits, value }: Ip): string {
  return `${bits}/${value}`;
}

function ip(text: string): Ip {
  return parseIp(text) as Ip;
}

function cidr(text: string): Cidr {
  return parseRange(text) as Cidr;
}
