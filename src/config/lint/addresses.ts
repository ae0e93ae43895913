import { type Cidr, classify, mayDial, parseCidr } from '../../policy/address.ts';
import { isIpLiteral } from '../../policy/host.ts';
import type { CanonicalHost } from '../../types.ts';
import { mapping } from '../raw.ts';
import type { Check, Find } from './finding.ts';

/** Ranges that reach this machine, the link, or everything; each with what stands there. */
const TOO_WIDE = (
  [
    ['127.0.0.0/8', 'the services of the gate’s own machine'],
    ['::1/128', 'the services of the gate’s own machine'],
    ['169.254.0.0/16', 'link-local services, such as those of clouds'],
    ['fe80::/10', 'link-local services'],
    ['0.0.0.0/8', 'the gate’s own machine'],
  ] as const
).map(([text, holds]) => [parseCidr(text) as Cidr, holds] as const);

/** Where things go, and how. */
export const checkAddresses: Check = ({ config, root }, find) => {
  const { rules, upstream } = config;
  for (const [i, rule] of rules.entries()) {
    for (const [j, host] of rule.hosts.entries()) {
      if (rule.action === 'deny' || !isIpLiteral(host as CanonicalHost)) continue;
      if (upstream.resolve.has(host as CanonicalHost) || mayDial(host, upstream.allowPrivate)) continue;
      const is = classify(host);
      const fix = is === 'metadata' ? 'take it out' : 'permit it in upstream.allow_private, or take it out';
      find('SG012', ['rules', i, 'hosts', j], `${host} is never dialled: it is a ${is} address`, fix);
    }
    if (!rule.schemes.includes('http') || rule.action === 'deny') continue;
    const place = ['rules', i, 'schemes'];
    if (rule.injections.length > 0) {
      const message = `rule ${rule.name} sends a credential in plain http, for everybody on the way to read`;
      find('SG011', place, message, 'leave out http, and insecure: true with it');
    } else {
      const message = `what rule ${rule.name} lets pass over plain http can be read and changed on its way`;
      find('SG018', place, message, 'leave out http if the host speaks https');
    }
  }
  for (const [i, range] of upstream.allowPrivate.entries()) {
    const holds = TOO_WIDE.find(
      ([wide]) => overlap(wide, range) && range.prefix <= Math.max(wide.prefix, 0),
    )?.[1];
    if (holds === undefined) continue;
    const message = `this range holds ${holds}: any name that an allowed host’s owner makes resolve there leads to them`;
    find(
      'SG013',
      ['upstream', 'allow_private', i],
      message,
      'write the ranges of the upstreams alone, or upstream.resolve for single hosts',
    );
  }
  checkVaultAddresses(mapping(root['vaults']), find);
};

function overlap(a: Cidr, b: Cidr): boolean {
  if (a.bits !== b.bits) return false;
  const rest = BigInt(a.bits - Math.min(a.prefix, b.prefix));
  return a.value >> rest === b.value >> rest;
}

function checkVaultAddresses(vaults: Readonly<Record<string, unknown>>, find: Find): void {
  for (const [name, vault] of Object.entries(vaults)) {
    const { address } = mapping(vault);
    const url = typeof address === 'string' ? URL.parse(address) : null;
    if (url?.protocol !== 'http:') continue;
    const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
    if (host === 'localhost' || classify(host) === 'loopback') continue;
    const message = `vault ${name} is asked over plain http, so its secrets can be read on their way`;
    find('SG011', ['vaults', name, 'address'], message, 'write https://');
  }
}
