import { networkInterfaces } from 'node:os';
import { classify } from '../policy/address.ts';
import { type Ip, parseIp, unmapped } from '../policy/ip.ts';

/** Where to connect to, or where somebody listens; `address` is an IP address. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** Whether a connection to `dialled` would end at one of our own listeners. What cannot be compared counts as ours. */
export function isOwn(dialled: Endpoint, listeners: readonly Endpoint[]): boolean {
  const samePort = listeners.filter(listener => listener.port === dialled.port);
  return samePort.some(({ address }) => {
    // To connect to 0.0.0.0 or :: is to connect to this machine.
    if (!isOneAddress(dialled.address)) return true;
    return isOneAddress(address) ? same(address, dialled.address) : isThisMachine(dialled.address);
  });
}

/** Unlike 0.0.0.0 and ::, which stand for every address of the machine. */
function isOneAddress(text: string): boolean {
  const is = classify(text);
  return is !== 'unspecified' && is !== 'invalid';
}

function isThisMachine(address: string): boolean {
  if (classify(address) === 'loopback') return true;
  const local = Object.values(networkInterfaces()).flatMap(list => list ?? []);
  return local.some(own => same(own.address, address));
}

function same(a: string, b: string): boolean {
  const left = value(a);
  const right = value(b);
  return left !== undefined && right !== undefined && left.bits === right.bits && left.value === right.value;
}

/** IPv4-mapped IPv6 addresses lead to the IPv4 address. */
function value(text: string): Ip | undefined {
  const address = parseIp(text);
  return address && unmapped(address);
}
