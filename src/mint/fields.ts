import { BlockList, isIPv4 } from 'node:net';
import { z } from 'zod';

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');

/** Where a token is asked for: https, or http on this machine only; nothing in it but host, port and path. */
export function endpoint() {
  return z
    .string()
    .refine(
      isEndpoint,
      'is not valid; write an https URL without user, query and fragment (http only for 127.0.0.1 and [::1])',
    );
}

/** Text that goes into a request as it is: printable ASCII (RFC 6749, appendix A). */
export function printable(example: string) {
  return z.string().regex(/^[\x20-\x7e]{1,1024}$/, `is not valid; write printable ASCII, such as ${example}`);
}

/** `<vault>:<id>[?version=V][#json-field]` */
export function secretRef() {
  return z
    .string()
    .regex(
      /^[A-Za-z][A-Za-z0-9_.-]{0,63}:[^?#\s][^?#\x00-\x1f\x7f]*(?:\?version=[^?#\s]+)?(?:#[^#\x00-\x1f\x7f]+)?$/,
      'is not valid; write where the secret is, as <vault>:<id>[?version=V][#json-field], such as env:CLIENT_SECRET',
    );
}

export function isEndpoint(text: string): boolean {
  if (!URL.canParse(text) || /[\s?#\\]/.test(text)) return false;
  const { protocol, hostname, username, password } = new URL(text);
  if (username !== '' || password !== '' || hostname.endsWith('.')) return false;
  return protocol === 'https:' || (protocol === 'http:' && isLoopback(hostname));
}

function isLoopback(hostname: string): boolean {
  return hostname === '[::1]' || (isIPv4(hostname) && LOOPBACK.check(hostname, 'ipv4'));
}
