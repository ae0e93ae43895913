import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connect, connectHead, dial, header, readReply } from '../support/raw-client.ts';
import { before, type Case, checkAround, fill, message, play, request } from './case.ts';
import { openScene, type Scene } from './scene.ts';

let scene: Scene;
beforeAll(async () => {
  // A rule for any host, so that an address is not refused for the want of one.
  scene = await openScene({ rules: () => [{ name: 'any-8080', hosts: ['*'], ports: [8080] }] });
});
afterAll(() => scene.close());

const named = (cases: readonly Case[]): [string, Case][] => cases.map(c => [c.name, c]);

const OK_BODY = { status: 200, body: 'ok' } as const;
const SENT = 'GET /x HTTP/1.1\r\nHost: api.test\r\nAuthorization: Bearer SECRET\r\n\r\n';
const MALFORMED = { status: 400, reason: 'malformed_request' } as const;
const MISMATCH = { status: 400, reason: 'host_mismatch' } as const;
const NO_RULE = { status: 403, reason: 'no_rule' } as const;

const connectTo = (target: string, host = 'api.test:443', more: readonly string[] = []): string =>
  message([`CONNECT ${target} HTTP/1.1`, `Host: ${host}`, 'PROXY', ...more]);

/** Targets that are no `host:port`, or an address in a spelling that only some read. */
const BAD_TARGETS: readonly (readonly [what: string, target: string])[] = [
  ['a URL', 'https://api.test:443/'],
  ['a URL without a port', 'https://api.test'],
  ['no port', 'api.test'],
  ['an empty port', 'api.test:'],
  ['port 0', 'api.test:0'],
  ['port 65536', 'api.test:65536'],
  ['port 99999999999', 'api.test:99999999999'],
  ['a port with a leading zero', 'api.test:0443'],
  ['a signed port', 'api.test:+443'],
  ['a negative port', 'api.test:-443'],
  ['a hexadecimal port', 'api.test:0x1bb'],
  ['two ports', 'api.test:443:80'],
  ['only a port', ':443'],
  ['nothing but a star', '*'],
  ['nothing but a slash', '/'],
  ['a path behind the port', 'api.test:443/'],
  ['a query behind the port', 'api.test:443?x'],
  ['a fragment behind the port', 'api.test:443#x'],
  ['a user name', 'user@api.test:443'],
  ['an allowed host as the user name', 'api.test:443@evil.test:443'],
  ['a percent-encoded NUL', 'api%00.test:443'],
  ['a NUL', 'api.test\0.evil.test:443'],
  ['a percent-encoded dot', 'api%2etest:443'],
  ['a backslash', 'evil.test\\.api.test:443'],
  ['a name in brackets', '[api.test]:443'],
  ['two trailing dots', 'api.test..:443'],
  ['a leading dot', '.api.test:443'],
  ['an empty label', 'api..test:443'],
  ['a single dot', '.:443'],
  ['an ideographic full stop', 'api\xe3\x80\x82test:443'],
  ['a halfwidth full stop', 'api\xef\xbd\xa1test:443'],
  ['a fullwidth full stop', 'api\xef\xbc\x8etest:443'],
  ['letters beyond ASCII', '\xc3\xa4pi.test:443'],
  ['a soft hyphen', 'a\xc2\xadpi.test:443'],
  ['a label of 64 characters', `${'a'.repeat(64)}.test:443`],
  ['a name of 255 characters', `${'a.'.repeat(126)}test:443`],
  ['a comma', 'api.test,evil.test:443'],
  ['a tab', 'api.test\t:443'],
  ['a short IPv4 address', '127.1:8080'],
  ['a shorter IPv4 address', '1:8080'],
  ['an IPv4 address in three parts', '127.0.1:8080'],
  ['a hexadecimal IPv4 address', '0x7f.0.0.1:8080'],
  ['a hexadecimal IPv4 number', '0x7f000001:8080'],
  ['a decimal IPv4 number', '2130706433:8080'],
  ['an octal IPv4 address', '0177.0.0.1:8080'],
  ['an IPv4 address with leading zeros', '127.000.000.001:8080'],
  ['an IPv4 address with an octet of 256', '127.0.0.256:8080'],
  ['an IPv4 address of five parts', '127.0.0.1.1:8080'],
  ['an IPv4 address with a hexadecimal end', '127.0.0.0x1:8080'],
  ['an IPv4 address in brackets', '[127.0.0.1]:8080'],
  ['an IPv6 address without brackets', '::1:8080'],
  ['an IPv6 address with a zone', '[fe80::1%eth0]:8080'],
  ['an IPv6 address with an encoded zone', '[fe80::1%25eth0]:8080'],
  ['an IPv6 address left open', '[::1:8080'],
  ['text behind an IPv6 address', '[::1]x:8080'],
  ['an IPv6 address with two gaps', '[1::2::3]:8080'],
  ['an IPv6 address of nine groups', '[1:2:3:4:5:6:7:8:9]:8080'],
  ['a future address', '[v1.fe80::a]:8080'],
  ['empty brackets', '[]:8080'],
];

test.each(BAD_TARGETS)('CONNECT to %s is malformed', async (name, target) => {
  await play(scene, { name, over: 'proxy', send: connectTo(target, 'x.test:443'), ...MALFORMED });
});

/** Strict addresses: a rule for any host does not cover them, only one that writes them. */
const ADDRESSES = [
  '127.0.0.1',
  '10.0.0.1',
  '169.254.169.254',
  '0.0.0.0',
  '::1',
  '::',
  '::ffff:127.0.0.1',
  '::ffff:7f00:1',
  '::127.0.0.1',
  '64:ff9b::7f00:1',
  '2002:7f00:1::',
  '2001:0:7f00:1::80ff:fefe',
  'fe80::5efe:7f00:1',
  'fd00:ec2::254',
];

test.each(ADDRESSES)('a rule for any host does not cover the address %s', async address => {
  const start = before(scene);
  const host = address.includes(':') ? `[${address}]` : address;
  const { peer } = await connect(scene.session.proxy, `${host}:8080`);
  await peer.send(message(['GET / HTTP/1.1', `Host: ${host}:8080`]));
  const reply = await readReply(peer);
  expect([reply.status, header(reply, 'stubgate-reason')]).toEqual([403, 'no_rule']);
  await checkAround(scene, start, { received: [peer], replies: [[NO_RULE, reply]], lines: 1 });
  peer.cut();
});

const proxy = (name: string, send: Case['send'], expected: Omit<Case, 'name' | 'send' | 'over'>): Case => ({
  name,
  over: 'proxy',
  send,
  ...expected,
});

describe('on the proxy’s own connection', () => {
  const bound = ['Host: api.test', 'PROXY', 'Authorization: Bearer STUB'];
  const plain = ['Host: plain.test', 'PROXY'];
  const absolute = (target: string, lines: readonly string[] = plain): string =>
    message([`GET ${target} HTTP/1.1`, ...lines]);
  const forwarded = (target: string): string => `GET ${target} HTTP/1.1\r\nHost: plain.test\r\n\r\n`;

  test.each(
    named([
      proxy(
        'CONNECT whose Host names another host is refused',
        connectTo('api.test:443', 'evil.test:443'),
        MISMATCH,
      ),
      proxy(
        'CONNECT whose Host names another port is refused',
        connectTo('api.test:443', 'api.test:80'),
        MISMATCH,
      ),
      proxy(
        'CONNECT whose Host holds a user name is refused',
        connectTo('api.test:443', 'a@api.test:443'),
        MISMATCH,
      ),
      proxy(
        'CONNECT with two Hosts is refused',
        connectTo('api.test:443', 'api.test', ['Host: api.test']),
        MALFORMED,
      ),
      proxy(
        'CONNECT with Content-Length is refused',
        connectTo('api.test:443', undefined, ['Content-Length: 0']),
        MALFORMED,
      ),
      proxy(
        'CONNECT with a chunked body is refused',
        `${connectTo('api.test:443', undefined, ['Transfer-Encoding: chunked'])}0\r\n\r\n`,
        MALFORMED,
      ),
      proxy(
        'CONNECT in lower case is no method',
        message(['connect api.test:443 HTTP/1.1', 'PROXY']),
        MALFORMED,
      ),
      proxy(
        'CONNECT with a stub in the host name is refused',
        connectTo('STUB.evil.test:443', 'STUB.evil.test:443'),
        {
          status: 403,
          reason: 'stub_misplaced',
        },
      ),
      proxy(
        'CONNECT with a stub in a header is refused',
        connectTo('open.test:443', 'open.test', ['X-Note: STUB']),
        {
          status: 403,
          reason: 'stub_misplaced',
        },
      ),
      proxy(
        'CONNECT with a secret in a header is refused',
        connectTo('open.test:443', 'open.test', ['X-Note: SECRET']),
        {
          status: 403,
          reason: 'secret_in_request',
        },
      ),
      proxy(
        'CONNECT without a credential is refused',
        message(['CONNECT api.test:443 HTTP/1.1', 'Host: api.test']),
        {
          status: 407,
          reason: 'unauthenticated',
        },
      ),
      proxy(
        'a stub is no proxy credential',
        s =>
          message([
            'CONNECT api.test:443 HTTP/1.1',
            `Proxy-Authorization: Basic ${Buffer.from(`${s.session.id}:${s.stub}`).toString('base64')}`,
          ]),
        { status: 407, reason: 'unauthenticated' },
      ),
      proxy('two proxy credentials are refused', connectTo('api.test:443', undefined, ['PROXY']), MALFORMED),
      proxy('a bound host is never asked over plain http', absolute('http://api.test/x', bound), {
        status: 403,
        reason: 'stub_misplaced',
      }),
      proxy(
        'a bound host is never asked over plain http on port 443',
        absolute('http://api.test:443/x', ['Host: api.test:443', ...bound.slice(1)]),
        {
          status: 403,
          reason: 'stub_misplaced',
        },
      ),
      proxy(
        'a bound host is never asked over plain http without a stub either',
        absolute('http://api.test/x', bound.slice(0, 2)),
        NO_RULE,
      ),
      proxy('an https URL is refused', absolute('https://api.test/x', bound), MALFORMED),
      proxy('an https URL in capitals is refused', absolute('HTTPS://api.test/x', bound), MALFORMED),
      proxy('origin-form is refused', absolute('/x'), MALFORMED),
      proxy('a URL of another scheme is refused', absolute('ftp://plain.test/x'), MALFORMED),
      proxy('a URL with a user name is refused', absolute('http://plain.test@evil.test/x'), MALFORMED),
      proxy('a URL without a host is refused', absolute('http:///x'), MALFORMED),
      proxy(
        'a URL with a backslash behind the host is refused',
        absolute('http://plain.test\\@evil.test/x'),
        MALFORMED,
      ),
      proxy('a URL with a fragment is refused', absolute('http://plain.test#@evil.test/'), MALFORMED),
      proxy(
        'a URL whose Host differs is refused',
        absolute('http://plain.test/x', ['Host: evil.test', 'PROXY']),
        MISMATCH,
      ),
      proxy(
        'a URL of an allowed host whose Host is bound is refused',
        absolute('http://plain.test/x', bound),
        {
          status: 403,
          reason: 'stub_misplaced',
        },
      ),
      proxy('a URL without Host is refused', absolute('http://plain.test/x', ['PROXY']), MALFORMED),
      proxy('a URL without a path gets one', absolute('http://plain.test?a=b'), {
        ...OK_BODY,
        upstream: forwarded('/?a=b'),
      }),
      proxy('the proxy’s credential is not forwarded', absolute('http://plain.test/x'), {
        ...OK_BODY,
        upstream: forwarded('/x'),
      }),
      proxy(
        'HTTP/1.0 without Host gets the Host of its URL',
        message(['GET http://plain.test/x HTTP/1.0', 'PROXY']),
        {
          ...OK_BODY,
          upstream: forwarded('/x'),
        },
      ),
      proxy(
        'a denied URL is not looked up',
        absolute('http://evil.test/x', ['Host: evil.test', 'PROXY']),
        NO_RULE,
      ),
      proxy(
        'a stub as a host name of a URL is an alarm',
        absolute('http://STUB.test/x', ['Host: STUB.test', 'PROXY']),
        {
          status: 403,
          reason: 'stub_misplaced',
        },
      ),
    ]),
  )('%s', (_, c) => play(scene, c));

  test('bytes behind a CONNECT are refused, never read as a request, and the connection is closed', async () => {
    const start = before(scene);
    const peer = await dial(scene.session.proxy.port);
    const early = absolute('http://plain.test/x');
    await peer.send(fill(scene, connectTo('api.test:443') + early));
    const { bytes } = await peer.end();
    expect(bytes.toString('latin1').match(/^HTTP\/1\.1 .*$/gm)).toEqual(['HTTP/1.1 400 Bad Request']);
    await checkAround(scene, start, { received: [bytes], lines: 1, audit: { reason: 'malformed_request' } });
  });

  test('bytes behind a CONNECT to a pinned host reach nobody', async () => {
    const start = before(scene);
    const peer = await dial(scene.session.proxy.port);
    await peer.send(fill(scene, `${connectTo('pinned.test:443', 'pinned.test')}early`));
    const { bytes } = await peer.end();
    expect(bytes.toString('latin1').match(/^HTTP\/1\.1 .*$/gm)).toEqual(['HTTP/1.1 400 Bad Request']);
    await checkAround(scene, start, { received: [bytes], lines: 1, audit: { reason: 'malformed_request' } });
  });

  test('the tunnel of a denied host is opened, its refusal readable, up to the session’s bound', async () => {
    const session = await scene.gate.session();
    const peers = [];
    for (let i = 0; i < 32; i++) {
      const { peer, reply } = await connect(session.proxy, `evil-${i}.test:443`);
      expect(reply.status).toBe(200);
      peers.push(peer);
    }
    const start = before(scene);
    const last = await connect(session.proxy, 'evil-32.test:443');
    expect([last.reply.status, header(last.reply, 'stubgate-reason')]).toEqual([403, 'no_rule']);
    await checkAround(scene, start, {
      received: [last.peer],
      lines: 1,
      audit: { reason: 'no_rule', status: 403 },
    });
    for (const peer of [...peers, last.peer]) peer.cut();
  });
});

describe('inside a tunnel', () => {
  const get = (lines: readonly string[], target = '/x'): string =>
    message([`GET ${target} HTTP/1.1`, ...lines]);
  const auth = 'Authorization: Bearer STUB';
  const host = (value: string): string => get([`Host: ${value}`, auth]);

  test.each(
    named([
      { name: 'the Host of the tunnel is served', send: host('api.test'), ...OK_BODY, upstream: SENT },
      {
        name: 'the same host in capitals is the same',
        host: 'API.TEST',
        send: host('api.test'),
        sni: 'api.test',
        ...OK_BODY,
        upstream: SENT,
      },
      {
        name: 'the same host with one trailing dot is the same',
        host: 'api.test.',
        send: host('api.test'),
        sni: 'api.test',
        ...OK_BODY,
        upstream: SENT,
      },
      {
        name: 'Host may name the port',
        send: host('api.test:443'),
        ...OK_BODY,
        upstream: SENT.replace('api.test', 'api.test:443'),
      },
      { name: 'no SNI is no fault', sni: null, send: host('api.test'), ...OK_BODY, upstream: SENT },
      {
        name: 'SNI in capitals is the same',
        sni: 'API.test',
        send: host('api.test'),
        ...OK_BODY,
        upstream: SENT,
      },
      { name: 'SNI of another host is refused', sni: 'evil.test', send: host('api.test'), ...MISMATCH },
      {
        name: 'SNI of another allowed host is refused',
        sni: 'open.test',
        send: host('api.test'),
        ...MISMATCH,
      },
      {
        name: 'SNI of the bound host in the tunnel of an open one is refused',
        host: 'open.test',
        sni: 'api.test',
        send: get(['Host: open.test']),
        ...MISMATCH,
      },
      { name: 'Host of another host is refused', send: host('evil.test'), ...MISMATCH },
      { name: 'Host of another allowed host is refused', send: host('open.test'), ...MISMATCH },
      { name: 'Host of a subdomain is refused', send: host('x.api.test'), ...MISMATCH },
      { name: 'Host with another port is refused', send: host('api.test:80'), ...MISMATCH },
      { name: 'Host with port 0443 is refused', send: host('api.test:0443'), ...MISMATCH },
      { name: 'Host with an empty port is refused', send: host('api.test:'), ...MISMATCH },
      { name: 'Host with a user name is refused', send: host('api.test@evil.test'), ...MISMATCH },
      { name: 'Host with a password is refused', send: host('evil.test:x@api.test'), ...MISMATCH },
      { name: 'Host with a path is refused', send: host('api.test/x'), ...MISMATCH },
      { name: 'Host as a URL is refused', send: host('https://api.test'), ...MISMATCH },
      { name: 'a list of Hosts is refused', send: host('api.test, evil.test'), ...MISMATCH },
      { name: 'Host with a space inside is refused', send: host('api.test evil.test'), ...MISMATCH },
      { name: 'Host with two trailing dots is refused', send: host('api.test..'), ...MISMATCH },
      { name: 'an empty Host is refused', send: host(''), ...MISMATCH },
      { name: 'Host in brackets is refused', send: host('[api.test]'), ...MISMATCH },
      {
        name: 'Host that is a stub is an alarm',
        send: get(['Host: STUB.test', auth]),
        status: 403,
        reason: 'stub_misplaced',
      },
      { name: 'no Host is refused', send: get([auth]), ...MALFORMED },
      { name: 'HTTP/1.0 without Host is refused', send: message(['GET /x HTTP/1.0', auth]), ...MALFORMED },
      { name: 'two Hosts are refused', send: get(['Host: api.test', 'Host: api.test', auth]), ...MALFORMED },
      {
        name: 'two Hosts in different case are refused',
        send: get(['Host: api.test', 'hOST: evil.test', auth]),
        ...MALFORMED,
      },
      {
        name: 'Host folded over two lines is refused',
        send: get(['Host: api.test', ' evil.test', auth]),
        ...MALFORMED,
      },
      {
        name: 'Host with a space before the colon is refused',
        send: get(['Host : api.test', auth]),
        ...MALFORMED,
      },
      {
        name: 'Host nominated by Connection is refused',
        send: get(['Host: api.test', 'Connection: host', auth]),
        ...MALFORMED,
      },
      {
        name: 'X-Forwarded-Host changes nothing',
        send: get(['Host: api.test', 'X-Forwarded-Host: evil.test', auth]),
        ...OK_BODY,
        upstream: SENT.replace('Auth', 'X-Forwarded-Host: evil.test\r\nAuth'),
      },
      {
        name: 'a nested CONNECT is refused',
        send: message(['CONNECT evil.test:443 HTTP/1.1', 'Host: evil.test']),
        ...MALFORMED,
      },
      {
        name: 'a nested CONNECT to the same host is refused',
        send: message(['CONNECT api.test:443 HTTP/1.1', 'Host: api.test:443']),
        ...MALFORMED,
      },
      {
        name: 'absolute-form of another host is refused',
        send: get(['Host: api.test', auth], 'http://evil.test/x'),
        ...MALFORMED,
      },
      {
        name: 'absolute-form of the same host is refused',
        send: get(['Host: api.test', auth], 'https://api.test/x'),
        ...MALFORMED,
      },
      { name: '//host is refused', send: get(['Host: api.test', auth], '//evil.test/x'), ...MALFORMED },
      { name: '///host is refused', send: get(['Host: api.test', auth], '///evil.test/x'), ...MALFORMED },
      { name: '/\\host is refused', send: get(['Host: api.test', auth], '/\\evil.test/x'), ...MALFORMED },
      { name: '\\\\host is refused', send: get(['Host: api.test', auth], '\\\\evil.test/x'), ...MALFORMED },
      { name: '@host is refused', send: get(['Host: api.test', auth], '@evil.test/x'), ...MALFORMED },
      { name: 'host:port is refused', send: get(['Host: api.test', auth], 'evil.test:443'), ...MALFORMED },
      { name: '* is refused for GET', send: get(['Host: api.test', auth], '*'), ...MALFORMED },
      { name: 'a fragment is refused', send: get(['Host: api.test', auth], '/x#y'), ...MALFORMED },
      {
        name: 'a fragment in the query is refused',
        send: get(['Host: api.test', auth], '/x?a#y'),
        ...MALFORMED,
      },
      { name: 'an empty target is refused', send: get(['Host: api.test', auth], ''), ...MALFORMED },
      {
        name: 'an encoded backslash is refused',
        send: request('/a%5cb'),
        status: 400,
        reason: 'ambiguous_path',
      },
      { name: 'a dot segment is refused', send: request('/a/../x'), status: 400, reason: 'ambiguous_path' },
      {
        name: 'an encoded dot segment is refused',
        send: request('/a/%2e%2E/x'),
        status: 400,
        reason: 'ambiguous_path',
      },
      {
        name: 'a doubly encoded dot segment is refused',
        send: request('/a/%252e%252e/x'),
        status: 400,
        reason: 'ambiguous_path',
      },
      {
        name: 'a dot segment with parameters is refused',
        send: request('/a/..;x/y'),
        status: 400,
        reason: 'ambiguous_path',
      },
      { name: 'an encoded NUL is refused', send: request('/a%00b'), status: 400, reason: 'ambiguous_path' },
      {
        name: 'an overlong dot is refused',
        send: request('/a/%c0%ae%c0%ae/x'),
        status: 400,
        reason: 'ambiguous_path',
      },
      {
        name: 'an encoded second slash is refused',
        send: request('/%2fevil.test'),
        status: 400,
        reason: 'ambiguous_path',
      },
      {
        name: 'an encoded slash is sent as it is',
        send: request('/a%2Fb'),
        ...OK_BODY,
        upstream: SENT.replace('/x', '/a%2Fb'),
      },
      {
        name: 'a denied path in another spelling is denied',
        send: request('/%66orbidden/x'),
        status: 403,
        reason: 'rule_denies',
      },
      {
        name: 'a denied path with an empty segment is denied',
        send: request('/x/..//forbidden/x').replace('/x/..', ''),
        ...MALFORMED,
      },
      {
        name: 'a denied path with a parameter is denied',
        send: request('/forbidden;a/x'),
        status: 403,
        reason: 'rule_denies',
      },
      {
        name: 'plain http inside the tunnel gets no credential',
        over: 'clear',
        send: get(['Host: api.test:443', auth]),
        status: 403,
        reason: 'stub_misplaced',
      },
      {
        name: 'plain http inside the tunnel is another question',
        over: 'clear',
        send: get(['Host: api.test:443']),
        ...NO_RULE,
      },
      {
        name: 'plain http inside the tunnel of an open host is not forwarded',
        host: 'open.test',
        over: 'clear',
        send: get(['Host: open.test:443']),
        ...NO_RULE,
      },
      {
        name: 'HTTP/2 without TLS is no HTTP/1.1',
        over: 'clear',
        send: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
        ...MALFORMED,
      },
      { name: 'HTTP/2 inside TLS is no HTTP/1.1', send: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', ...MALFORMED },
    ] satisfies Case[]),
  )('%s', (_, c) => play(scene, c));

  const like = (
    name: string,
    to: string,
    expected: Pick<Case, 'status' | 'reason'>,
    port?: number,
  ): Case => ({
    name,
    host: to,
    ...(port !== undefined && { port }),
    send: get([`Host: ${to}${port === undefined ? '' : `:${port}`}`]),
    ...expected,
  });

  test.each(
    named([
      like('a name that begins like an allowed one is another', 'api.test.evil.test', NO_RULE),
      like('a name that ends like an allowed one is another', 'evilapi.test', NO_RULE),
      like('a subdomain of an allowed name is another', 'x.api.test', NO_RULE),
      like('a parent of an allowed name is another', 'test', NO_RULE),
      like('a wildcard does not cover its apex', 'wild.test', NO_RULE),
      like('a wildcard does not cover a name that merely ends like it', 'evilwild.test', NO_RULE),
      like('another port of an allowed host is another question', 'api.test', NO_RULE, 8443),
      like('the default port of a host with another port is another question', 'ports.test', NO_RULE),
      {
        ...like('a wildcard covers a name below it', 'a.wild.test', { status: 200 }),
        upstream: get(['Host: a.wild.test']),
      },
      {
        ...like('a wildcard covers any depth', 'a.b.wild.test', { status: 200 }),
        upstream: get(['Host: a.b.wild.test']),
      },
    ]),
  )('%s', (_, c) => play(scene, c));

  test('a stub for a denied host is an alarm', async () => {
    await play(scene, {
      name: 'alarm',
      host: 'evil.test',
      send: get(['Host: evil.test', auth]),
      status: 403,
      reason: 'stub_misplaced',
      audit: { stubs_seen: 1, host: 'evil.test', injected: [] },
    });
    expect(scene.gate.logs.at(-1)).toMatchObject({ level: 'warn', message: 'alarm' });
  });

  test('a tunnel that nothing is asked in causes no query and no connection', async () => {
    const start = before(scene);
    const { peer, reply } = await connect(scene.session.proxy, 'unknown.wild.test:443');
    expect(reply.status).toBe(200);
    await checkAround(scene, start, { received: [peer], lines: 0 });
    peer.cut();
  });
});

test('one connection is not two: the second CONNECT in a denied tunnel is a malformed request', async () => {
  const start = before(scene);
  const { peer } = await connect(scene.session.proxy, 'evil.test:443');
  await peer.send(connectHead(scene.session.proxy, 'api.test:443'));
  const reply = await readReply(peer);
  expect(reply.status).toBe(400);
  await checkAround(scene, start, { received: [peer], replies: [[MALFORMED, reply]], lines: 1 });
  peer.cut();
});
