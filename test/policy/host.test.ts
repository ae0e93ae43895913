import { describe, expect, it } from 'vitest';
import { canonicalHost, canonicalRuleHost, parseAuthority, parsePort } from '../../src/policy/host.ts';

const label63 = 'a'.repeat(63);
const name253 = `${label63}.${label63}.${label63}.${'a'.repeat(61)}`;

describe('canonicalHost', () => {
  it.each([
    ['example.com', 'example.com'],
    ['EXAMPLE.Com', 'example.com'],
    ['example.com.', 'example.com'],
    ['a', 'a'],
    ['_dmarc.example.com', '_dmarc.example.com'],
    ['xn--bcher-kva.example', 'xn--bcher-kva.example'],
    ['r3---sn-x.example', 'r3---sn-x.example'],
    ['1password.com', '1password.com'],
    ['1.2.3.4.example', '1.2.3.4.example'],
    ['0x7f.example', '0x7f.example'],
    ['example.x0', 'example.x0'],
    [name253, name253],
    [`${name253}.`, name253],
    ['127.0.0.1', '127.0.0.1'],
    ['255.255.255.255', '255.255.255.255'],
    ['[::1]', '::1'],
    ['[2001:DB8:0:0:0:0:0:1]', '2001:db8::1'],
    ['[0:0:0:0:0:0:0:0]', '::'],
    ['[2001:db8:0:1:1:1:1:1]', '2001:db8:0:1:1:1:1:1'],
    ['[2001:0:0:1:0:0:0:1]', '2001:0:0:1::1'],
    ['[2001:db8:0:0:1:0:0:1]', '2001:db8::1:0:0:1'],
    ['[1:2:3:4:5:6:7::]', '1:2:3:4:5:6:7:0'],
    ['[::ffff:127.0.0.1]', '::ffff:127.0.0.1'],
    ['[::FFFF:7f00:1]', '::ffff:127.0.0.1'],
    ['[64:ff9b::1.2.3.4]', '64:ff9b::102:304'],
  ])('reads %s as %s', (text, host) => {
    expect(canonicalHost(text)).toBe(host);
  });

  it.each([
    '',
    '.',
    '..',
    'a..',
    'a..b',
    '.a',
    '*.a',
    'a b',
    'a/b',
    'a\\b',
    'a%00.b',
    'a%2eb',
    'a\0.b',
    'a\n',
    'a\r\nb',
    'user@host',
    'a:80',
    '-a.example',
    'a-.example',
    `${label63}a.example`,
    `${name253}a`,
    'bücher.example',
    'a。b',
    'a．b',
    '\u212Aelvin.example',
    '127.1',
    '127.0.1',
    '0x7f.1',
    '0x7f.0.0.1',
    '0x',
    'a.0x',
    '2130706433',
    '0177.0.0.1',
    '127.0.0.01',
    '127.0.0.256',
    '127.0.0.1.5',
    '127.0.0.1..',
    'a.1',
    '::1',
    '[]',
    '[::1',
    '::1]',
    '[a]',
    '[127.0.0.1]',
    '[::1%eth0]',
    '[::1%25eth0]',
    '[:::]',
    '[1::2::3]',
    '[1:2:3:4:5:6:7]',
    '[1:2:3:4:5:6:7:8:9]',
    '[1:2:3:4:5:6:7::8]',
    '[12345::]',
    '[::g]',
    '[::1.2.3]',
    '[::1.2.3.04]',
    '[1.2.3.4::]',
    '[::1.2.3.4:5]',
    '[[::1]]',
    '[::1].',
  ])('refuses %j', text => {
    expect(canonicalHost(text)).toBeUndefined();
  });
});

describe('canonicalRuleHost', () => {
  it.each([
    ['*', '*'],
    ['*.Example.com', '*.example.com'],
    ['*.example.com.', '*.example.com'],
    ['bücher.example', 'xn--bcher-kva.example'],
    ['*.BÜCHER.example', '*.xn--bcher-kva.example'],
    ['straße.example', 'xn--strae-oqa.example'],
    ['::1', '::1'],
    ['[::1]', '::1'],
    ['127.0.0.1', '127.0.0.1'],
  ])('reads %s as %s', (text, host) => {
    expect(canonicalRuleHost(text)).toBe(host);
  });

  it.each([
    '',
    '**',
    '*.',
    '*.*',
    '*.*.example.com',
    '*example.com',
    'a.*.com',
    '*.127.0.0.1',
    '*.::1',
    '*.[::1]',
    '１２７.0.0.1',
    '１２７.１',
    '127。1',
    'https://example.com',
    'example.com:443',
    'example.com/x',
    'exa mple.com',
    'example.com%2f',
  ])('refuses %j', text => {
    expect(canonicalRuleHost(text)).toBeUndefined();
  });
});

describe('parseAuthority', () => {
  it.each([
    ['example.com:443', undefined, 'example.com', 443],
    ['Example.com.:1', undefined, 'example.com', 1],
    ['example.com:65535', 443, 'example.com', 65535],
    ['example.com', 443, 'example.com', 443],
    ['[::1]:8443', undefined, '::1', 8443],
    ['[::1]', 80, '::1', 80],
    ['127.0.0.1:80', undefined, '127.0.0.1', 80],
  ])('reads %s, default %s', (text, port, host, expected) => {
    expect(parseAuthority(text, port)).toEqual({ host, port: expected });
  });

  it.each([
    ['example.com', undefined],
    ['example.com:', undefined],
    ['example.com:', 443],
    ['example.com:0', 443],
    ['example.com:0443', undefined],
    ['example.com:+443', undefined],
    ['example.com:-1', undefined],
    ['example.com: 443', undefined],
    ['example.com:443 ', undefined],
    ['example.com:65536', undefined],
    ['example.com:99999', undefined],
    ['example.com:443:80', undefined],
    ['example.com:0x1bb', undefined],
    ['example.com:٤٤٣', undefined],
    ['user@example.com:443', undefined],
    ['user:pass@example.com:443', undefined],
    ['https://example.com:443', undefined],
    ['example.com:443/', undefined],
    ['::1:443', undefined],
    ['[::1]443', undefined],
    ['[::1]x:443', undefined],
    [':443', undefined],
    ['', 443],
  ])('refuses %j, default %s', (text, port) => {
    expect(parseAuthority(text, port)).toBeUndefined();
  });
});

describe('parsePort', () => {
  it.each(['', '0', '00', '65536', '1e3', '1.0', ' 1'])('refuses %j', text => {
    expect(parsePort(text)).toBeUndefined();
  });
});
