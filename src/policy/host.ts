import { domainToASCII } from 'node:url';
import type { CanonicalHost } from '../types.ts';
import { formatIp, parseIp } from './ip.ts';

/** A host of a rule: itself, any depth below a name (not the name itself), or any name. */
export type RuleHost = CanonicalHost | `*.${string}` | '*';

export interface Authority {
  readonly host: CanonicalHost;
  /** 1 to 65535 */
  readonly port: number;
}

// Letters, digits, hyphen (RFC 1123, section 2.1), and the underscore that real host names carry.
const LABEL = '[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?';
const NAME = new RegExp(`^(?:${LABEL}\\.)*${LABEL}$`);
const MAX_NAME = 253;
/** A last label that makes a resolver read the host as an IPv4 address: `127.1`, `0x7f.1`, `2130706433`. */
const ENDS_IN_NUMBER = /(?:^|\.)(?:\d+|0[xX][0-9a-fA-F]*)$/;
const PORT = /^[1-9]\d{0,4}$/;

/** The host of a request target in its one form; undefined if it is not strictly a host name or an IP literal. */
export function canonicalHost(text: string): CanonicalHost | undefined {
  if (text.startsWith('[')) return text.endsWith(']') ? canonicalIpv6(text.slice(1, -1)) : undefined;
  const name = text.endsWith('.') ? text.slice(0, -1) : text;
  if (name.length > MAX_NAME || !NAME.test(name)) return undefined;
  if (ENDS_IN_NUMBER.test(name) && !parseIp(name)) return undefined;
  return name.toLowerCase() as CanonicalHost;
}

/** A host as an operator writes it: also in Unicode (IDNA, UTS #46), also `*.name` and `*`, and IPv6 also without brackets. */
export function canonicalRuleHost(text: string): RuleHost | undefined {
  if (text === '*') return text;
  if (text.includes(':') && !text.startsWith('[')) return canonicalIpv6(text);
  if (!text.startsWith('*.')) return operatorsHost(text);
  const parent = operatorsHost(text.slice(2));
  return parent === undefined || isIpLiteral(parent) ? undefined : `*.${parent}`;
}

/** `host:port`; without `defaultPort` the port must be there (CONNECT: RFC 9110, section 9.3.6). */
export function parseAuthority(text: string, defaultPort?: number): Authority | undefined {
  const colon = text.indexOf(':', text.startsWith('[') ? text.indexOf(']') + 1 : 0);
  const host = canonicalHost(colon < 0 ? text : text.slice(0, colon));
  const port = colon < 0 ? defaultPort : parsePort(text.slice(colon + 1));
  return host === undefined || port === undefined ? undefined : { host, port };
}

/** 1 to 65535 in plain decimal. */
export function parsePort(text: string): number | undefined {
  if (!PORT.test(text)) return undefined;
  const port = Number(text);
  return port <= 65_535 ? port : undefined;
}

/** Whether a canonical host is an IP address, not a name. */
export function isIpLiteral(host: CanonicalHost): boolean {
  return host.includes(':') || ENDS_IN_NUMBER.test(host);
}

function canonicalIpv6(text: string): CanonicalHost | undefined {
  const ip = parseIp(text);
  return ip?.bits === 128 ? (formatIp(ip) as CanonicalHost) : undefined;
}

function operatorsHost(text: string): CanonicalHost | undefined {
  if (isAscii(text)) return canonicalHost(text);
  const host = canonicalHost(domainToASCII(text));
  // Digits of another script become an address: `１２７.1` is 127.0.0.1.
  return host === undefined || isIpLiteral(host) ? undefined : host;
}

function isAscii(text: string): boolean {
  return /^[\x00-\x7f]*$/.test(text);
}
