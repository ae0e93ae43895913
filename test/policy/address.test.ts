import { isIP } from 'node:net';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type AddressClass, classify, mayDial, parseCidr } from '../../src/policy/address.ts';
import { formatIp, parseIp } from '../../src/policy/ip.ts';

const cidrs = (...texts: string[]) => texts.map(text => parseCidr(text)).filter(range => range !== undefined);
const EVERYWHERE = cidrs('0.0.0.0/0', '::/0');

describe('classify', () => {
  // First and last address of each range of the IANA registries (RFC 6890), and the neighbours outside.
  it.each<[string, string, AddressClass]>([
    ['RFC 791 this network', '0.0.0.0', 'unspecified'],
    ['RFC 791 this network', '0.255.255.255', 'unspecified'],
    ['', '1.0.0.0', 'public'],
    ['', '8.8.8.8', 'public'],
    ['', '9.255.255.255', 'public'],
    ['RFC 1918', '10.0.0.0', 'private'],
    ['RFC 1918', '10.255.255.255', 'private'],
    ['', '11.0.0.0', 'public'],
    ['', '100.63.255.255', 'public'],
    ['RFC 6598', '100.64.0.0', 'cgnat'],
    ['RFC 6598', '100.127.255.255', 'cgnat'],
    ['', '100.128.0.0', 'public'],
    ['', '126.255.255.255', 'public'],
    ['RFC 1122', '127.0.0.0', 'loopback'],
    ['RFC 1122', '127.0.0.1', 'loopback'],
    ['RFC 1122', '127.255.255.255', 'loopback'],
    ['', '128.0.0.0', 'public'],
    ['', '169.253.255.255', 'public'],
    ['RFC 3927', '169.254.0.0', 'link-local'],
    ['RFC 3927', '169.254.255.255', 'link-local'],
    ['', '169.255.0.0', 'public'],
    ['', '172.15.255.255', 'public'],
    ['RFC 1918', '172.16.0.0', 'private'],
    ['RFC 1918', '172.31.255.255', 'private'],
    ['', '172.32.0.0', 'public'],
    ['', '191.255.255.255', 'public'],
    ['RFC 6890', '192.0.0.0', 'reserved'],
    ['RFC 6890', '192.0.0.255', 'reserved'],
    ['', '192.0.1.0', 'public'],
    ['RFC 5737', '192.0.2.0', 'documentation'],
    ['RFC 5737', '192.0.2.255', 'documentation'],
    ['', '192.0.3.0', 'public'],
    ['RFC 7526', '192.88.99.1', 'reserved'],
    ['', '192.167.255.255', 'public'],
    ['RFC 1918', '192.168.0.0', 'private'],
    ['RFC 1918', '192.168.255.255', 'private'],
    ['', '192.169.0.0', 'public'],
    ['', '198.17.255.255', 'public'],
    ['RFC 2544', '198.18.0.0', 'benchmarking'],
    ['RFC 2544', '198.19.255.255', 'benchmarking'],
    ['', '198.20.0.0', 'public'],
    ['RFC 5737', '198.51.100.7', 'documentation'],
    ['RFC 5737', '203.0.113.7', 'documentation'],
    ['', '223.255.255.255', 'public'],
    ['RFC 5771', '224.0.0.0', 'multicast'],
    ['RFC 5771', '239.255.255.255', 'multicast'],
    ['RFC 1112', '240.0.0.0', 'reserved'],
    ['RFC 919', '255.255.255.255', 'reserved'],

    ['AWS, Azure, Google', '169.254.169.254', 'metadata'],
    ['ECS', '169.254.170.2', 'metadata'],
    ['EKS', '169.254.170.23', 'metadata'],
    ['Alibaba', '100.100.100.200', 'metadata'],
    ['Azure', '168.63.129.16', 'metadata'],
    ['Oracle', '192.0.0.192', 'metadata'],
    ['AWS', 'fd00:ec2::254', 'metadata'],
    ['EKS', 'fd00:ec2::23', 'metadata'],
    ['Google', 'fd20:ce::254', 'metadata'],
    ['mapped', '::ffff:169.254.169.254', 'metadata'],
    ['mapped, in hex', '::ffff:a9fe:a9fe', 'metadata'],
    ['compatible', '::169.254.169.254', 'metadata'],
    ['NAT64', '64:ff9b::169.254.169.254', 'metadata'],
    ['translated', '::ffff:0:169.254.169.254', 'metadata'],
    ['6to4', '2002:a9fe:a9fe::', 'metadata'],
    ['Teredo server', '2001:0:a9fe:a9fe::', 'metadata'],
    ['Teredo client', '2001:0:808:808::5601:5601', 'metadata'],
    ['ISATAP', 'fe80::5efe:169.254.169.254', 'metadata'],
    ['ISATAP in a global prefix', '2400::200:5efe:169.254.169.254', 'metadata'],
    ['local NAT64, /48', '64:ff9b:1:a9fe:a9:fe00::', 'metadata'],
    ['local NAT64, /56', '64:ff9b:1:a9:fe:a9fe::', 'metadata'],
    ['local NAT64, /64', '64:ff9b:1:0:a9:fea9:fe00:0', 'metadata'],
    ['local NAT64, /96', '64:ff9b:1::169.254.169.254', 'metadata'],

    ['RFC 4291', '::', 'unspecified'],
    ['RFC 4291', '::1', 'loopback'],
    ['RFC 4291 mapped', '::ffff:8.8.8.8', 'public'],
    ['RFC 4291 mapped', '::ffff:127.0.0.1', 'loopback'],
    ['RFC 4291 mapped', '::ffff:10.0.0.1', 'private'],
    ['RFC 4291 mapped', '::ffff:0.0.0.0', 'unspecified'],
    ['RFC 4291 compatible', '::127.0.0.1', 'loopback'],
    ['RFC 4291 compatible', '::8.8.8.8', 'reserved'],
    ['RFC 2765', '::ffff:0:10.0.0.1', 'private'],
    ['RFC 2765', '::ffff:0:8.8.8.8', 'reserved'],
    ['RFC 6052', '64:ff9b::8.8.8.8', 'public'],
    ['RFC 6052', '64:ff9b::192.168.1.1', 'private'],
    ['RFC 6052', '64:ff9b:0:0:0:1:808:808', 'reserved'],
    ['RFC 8215', '64:ff9b:1::8.8.8.8', 'unspecified'],
    ['RFC 6666', '100::', 'discard'],
    ['RFC 6666', '100::ffff:ffff:ffff:ffff', 'discard'],
    ['RFC 9780', '100:0:0:1::', 'reserved'],
    ['RFC 4291', '1fff:ffff::', 'reserved'],
    ['', '2000::', 'public'],
    ['', '2606:4700:4700::1111', 'public'],
    ['RFC 4380', '2001:0:808:808::f7f7:f7f7', 'reserved'],
    ['RFC 4380 server', '2001:0:a00:1::f7f7:f7f7', 'private'],
    ['RFC 4380 client', '2001:0:808:808::f5ff:fffe', 'private'],
    ['RFC 5180', '2001:2::1', 'benchmarking'],
    ['RFC 4843', '2001:10::1', 'reserved'],
    ['RFC 7343', '2001:20::1', 'reserved'],
    ['RFC 2928', '2001:1ff:ffff::', 'reserved'],
    ['', '2001:200::', 'public'],
    ['RFC 3849', '2001:db8::1', 'documentation'],
    ['', '2001:db9::', 'public'],
    ['RFC 3056', '2002:808:808::1', 'reserved'],
    ['RFC 3056', '2002:7f00:1::', 'loopback'],
    ['RFC 3056', '2002:a00:1::1', 'private'],
    ['', '2003::', 'public'],
    ['', '3ffe:ffff::', 'public'],
    ['RFC 9637', '3fff::1', 'documentation'],
    ['', '3fff:1000::', 'public'],
    ['RFC 4291', '4000::', 'reserved'],
    ['RFC 9602', '5f00::1', 'reserved'],
    ['RFC 4193', 'fc00::', 'private'],
    ['RFC 4193', 'fdff:ffff::', 'private'],
    ['RFC 4291', 'fe00::', 'reserved'],
    ['RFC 4291', 'fe80::', 'link-local'],
    ['RFC 4291', 'febf:ffff::', 'link-local'],
    ['RFC 3879', 'fec0::1', 'private'],
    ['RFC 3879', 'feff:ffff::', 'private'],
    ['RFC 4291', 'ff02::1', 'multicast'],
    ['RFC 5214', '2400::5efe:127.0.0.1', 'loopback'],
    ['RFC 5214', '2400::5efe:8.8.8.8', 'public'],
    ['RFC 5214', 'fe80::5efe:8.8.8.8', 'link-local'],
  ])('%s: %s is %s', (_, ip, is) => {
    expect(classify(ip)).toBe(is);
  });

  it.each([
    '',
    'localhost',
    '127.1',
    '0x7f000001',
    '2130706433',
    '0177.0.0.1',
    ' 8.8.8.8',
    '8.8.8.8\n',
    '8.8.8',
    '8.8.8.8:53',
    '[::1]',
    'fe80::1%eth0',
    '::1/128',
    ':::',
  ])('does not take %j for an address', text => {
    expect(classify(text)).toBe('invalid');
    expect(mayDial(text, EVERYWHERE)).toBe(false);
  });

  it('takes for an address whatever Node does, zones aside, and nothing else', () => {
    const text = fc.oneof(fc.ipV4(), fc.ipV6(), fc.stringMatching(/^[0-9a-f:.]{1,20}$/), fc.string());
    fc.assert(
      fc.property(text, candidate => {
        if (candidate.includes('%')) return;
        expect(parseIp(candidate) !== undefined).toBe(isIP(candidate) !== 0);
      }),
      { numRuns: 5000 },
    );
  });

  it('writes an address so that it reads as the same one', () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), text => {
        const ip = parseIp(text);
        expect(ip && parseIp(formatIp(ip))).toEqual(ip);
        // WHATWG URL writes RFC 5952 too, but no dotted tails.
        if (!ip || formatIp(ip).startsWith('::ffff:')) return;
        const host = text.includes(':') ? `[${text}]` : text;
        expect(new URL(`http://${host}/`).hostname).toBe(host === text ? formatIp(ip) : `[${formatIp(ip)}]`);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('mayDial', () => {
  it.each<[string, string[], boolean]>([
    ['8.8.8.8', [], true],
    ['2606:4700::1', [], true],
    ['::ffff:8.8.8.8', [], true],
    ['127.0.0.1', [], false],
    ['10.1.2.3', [], false],
    ['10.1.2.3', ['10.1.0.0/16'], true],
    ['10.2.2.3', ['10.1.0.0/16'], false],
    ['10.1.2.3', ['10.1.2.3'], true],
    ['10.1.2.4', ['10.1.2.3/32'], false],
    ['::ffff:10.1.2.3', ['10.1.0.0/16'], true],
    ['10.1.2.3', ['::ffff:10.1.0.0/112'], true],
    ['10.2.2.3', ['::ffff:10.1.0.0/112'], false],
    ['::1', ['127.0.0.0/8'], false],
    ['::1', ['::1/128'], true],
    ['127.0.0.1', ['::/0'], false],
    ['64:ff9b::10.1.2.3', ['10.1.0.0/16'], false],
    ['fd12::1', ['fd00::/8'], true],
    ['169.254.169.254', ['0.0.0.0/0', '169.254.169.254/32'], false],
    ['::ffff:169.254.169.254', ['0.0.0.0/0', '::/0'], false],
    ['64:ff9b::a9fe:a9fe', ['::/0'], false],
    ['fd00:ec2::254', ['fd00::/8'], false],
    ['168.63.129.16', ['0.0.0.0/0'], false],
    ['169.254.1.1', ['169.254.0.0/16'], true],
  ])('%s with %j allowed: %s', (ip, allowed, answer) => {
    expect(cidrs(...allowed)).toHaveLength(allowed.length);
    expect(mayDial(ip, cidrs(...allowed))).toBe(answer);
  });

  it('answers for every text', () => {
    fc.assert(
      fc.property(fc.string(), text => {
        expect(typeof mayDial(text, EVERYWHERE)).toBe('boolean');
      }),
    );
  });
});

describe('parseCidr', () => {
  it.each([
    '',
    '/',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/08',
    '10.0.0.0/-1',
    '10.0.0.1/8',
    'fd00::/129',
    'fd00::1/8',
    '10.0.0.0/8/8',
    'x/8',
    '10.0.0.0/8 ',
    '10/8',
  ])('refuses %j', text => {
    expect(parseCidr(text)).toBeUndefined();
  });
});
