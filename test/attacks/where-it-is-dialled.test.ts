import net, { type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { startAdmin } from '../../src/admin/server.ts';
import { writeTrustFiles } from '../../src/admin/trust.ts';
import { createCa, type ServerIdentity, testCa } from '../support/pki.ts';
import { connect, header, openTls, readReply, wrapTls } from '../support/raw-client.ts';
import { startRaw } from '../support/upstream.ts';
import { before, type Case, checkAround, message, play } from './case.ts';
import { openScene, type Scene, type SceneOptions } from './scene.ts';

const FORBIDDEN = { status: 403, reason: 'forbidden_address' } as const;
const get = (host: string): string => message(['GET / HTTP/1.1', `Host: ${host}`]);
const ask = (host: string, more: Omit<Case, 'name' | 'send' | 'host'>): Case => ({
  name: host,
  host,
  send: get(more.port === undefined ? host : `${host}:${more.port}`),
  ...more,
});

async function scenery(options: SceneOptions): Promise<Scene> {
  const scene = await openScene(options);
  onTestFinished(() => scene.close());
  return scene;
}

/** Of each kind that is not public, its first, last and a usual address. */
const NOT_PUBLIC = [
  '0.0.0.0',
  '0.1.2.3',
  '10.0.0.1',
  '10.255.255.255',
  '100.64.0.1',
  '100.127.255.255',
  '127.0.0.1',
  '127.255.255.254',
  '169.254.0.1',
  '172.16.0.1',
  '172.31.255.255',
  '192.0.0.1',
  '192.0.2.1',
  '192.168.0.1',
  '198.18.0.1',
  '198.19.255.255',
  '198.51.100.1',
  '203.0.113.1',
  '224.0.0.1',
  '239.255.255.255',
  '240.0.0.1',
  '255.255.255.255',
  '::',
  '::1',
  'fc00::1',
  'fd12:3456::1',
  'fe80::1',
  'fec0::1',
  'ff02::1',
  '100::1',
  '2001:db8::1',
  '2001:2::1',
  '3fff::1',
  '::ffff:127.0.0.1',
  '::ffff:10.0.0.1',
  '::127.0.0.1',
  '64:ff9b::10.0.0.1',
  '64:ff9b:1::a00:1',
  '2002:a00:1::1',
  '2001:0:a00:1::1',
  '2606:4700::5efe:10.0.0.1',
];
/** Where clouds hand out credentials. */
const METADATA = [
  '169.254.169.254',
  '169.254.170.2',
  '169.254.170.23',
  'fd00:ec2::254',
  'fd00:ec2::23',
  '100.100.100.200',
  '168.63.129.16',
  '192.0.0.192',
  '::ffff:169.254.169.254',
  '64:ff9b::169.254.169.254',
  '2002:a9fe:a9fe::1',
  '::169.254.169.254',
];
/** What a resolver may give that is no address at all. */
const NO_ADDRESSES = ['127.1', '0x7f000001', '2130706433', 'fe80::1%eth0', 'localhost', '', '10.0.0.1/8'];

describe('by default', () => {
  let scene: Scene;
  beforeAll(async () => {
    const written = NOT_PUBLIC.filter(address => !address.includes('::ffff:'));
    scene = await openScene({
      rules: () => [
        { name: 'names', hosts: ['*.names.test'] },
        { name: 'plain-names', hosts: ['*.plain-names.test'], schemes: ['http'] },
        { name: 'written', hosts: written },
        { name: 'pinned-names', hosts: ['*.pinned-names.test'], action: 'tunnel' },
      ],
    });
  });
  afterAll(() => scene.close());

  test.each([...NOT_PUBLIC, ...METADATA, ...NO_ADDRESSES])(
    'a name that leads to "%s" is refused',
    async address => {
      scene.names.set('a.names.test', [address]);
      await play(scene, ask('a.names.test', { ...FORBIDDEN, lookups: ['a.names.test'] }));
    },
  );

  test.each(NOT_PUBLIC)('a rule that names %s is no permission to dial it', async address => {
    const host = address.includes(':') ? `[${address}]` : address;
    const start = before(scene);
    const { peer } = await connect(scene.session.proxy, `${host}:443`);

    const inner = await wrapTls(peer, { ca: scene.gate.ca, servername: address });
    await inner.send(get(host));
    const reply = await readReply(inner);
    // What another address hides inside is another host: no rule names it.
    const reason = address.includes('::ffff:') ? 'no_rule' : 'forbidden_address';
    expect([reply.status, header(reply, 'stubgate-reason')]).toEqual([403, reason]);
    await checkAround(scene, start, {
      received: [inner],
      replies: [[{ status: 403, reason }, reply]],
      lines: 1,
    });
    inner.cut();
  });

  test('plain http is judged alike', async () => {
    scene.names.set('a.plain-names.test', ['127.0.0.1']);
    const send = message(['GET http://a.plain-names.test/ HTTP/1.1', 'Host: a.plain-names.test', 'PROXY']);
    await play(scene, { name: '', over: 'proxy', send, ...FORBIDDEN, lookups: ['a.plain-names.test'] });
  });

  test('a pinned tunnel is judged alike', async () => {
    scene.names.set('a.pinned-names.test', ['10.0.0.1']);
    const send = message(['CONNECT a.pinned-names.test:443 HTTP/1.1', 'Host: a.pinned-names.test', 'PROXY']);
    await play(scene, { name: '', over: 'proxy', send, ...FORBIDDEN, lookups: ['a.pinned-names.test'] });
  });

  test.each([
    ['that does not resolve', undefined],
    ['without an address', []],
  ])('a name %s is a failure of DNS', async (_, answers) => {
    scene.names.delete('c.names.test');
    if (answers) scene.names.set('c.names.test', answers);
    await play(scene, ask('c.names.test', { status: 502, reason: 'dns_failure', lookups: ['c.names.test'] }));
  });

  test.each(['evil.test', 'names.test', 'x.evil.names.test.evil.test', 'secret-data.evil.test'])(
    'the denied host %s causes no query',
    async host => {
      await play(scene, ask(host, { status: 403, reason: 'no_rule' }));
    },
  );
});

describe('with every private address allowed', () => {
  let scene: Scene;
  beforeAll(async () => {
    scene = await openScene({
      rules: port => [
        { name: 'names', hosts: ['*.names.test'], ports: [443, port] },
        { name: 'written', hosts: METADATA.filter(address => !address.includes('::ffff:')) },
      ],
      upstream: { allow_private: ['0.0.0.0/0', '::/0'] },
    });
  });
  afterAll(() => scene.close());

  test.each(METADATA)('the metadata address %s is refused', async address => {
    scene.names.set('m.names.test', [address]);
    await play(scene, ask('m.names.test', { ...FORBIDDEN, lookups: ['m.names.test'] }));
  });

  test.each(METADATA.filter(address => !address.includes('::ffff:')))(
    'the metadata address %s written in a rule is refused',
    async address => {
      const host = address.includes(':') ? `[${address}]` : address;
      const start = before(scene);
      const peer = await openTls(scene.session.proxy, scene.gate.ca, address);
      await peer.send(get(host));
      const reply = await readReply(peer);
      await checkAround(scene, start, { received: [peer], replies: [[FORBIDDEN, reply]], lines: 1 });
      expect([reply.status, header(reply, 'stubgate-reason')]).toEqual([403, 'forbidden_address']);
      peer.cut();
    },
  );

  test('what is no address is refused', async () => {
    scene.names.set('n.names.test', ['127.1']);
    await play(scene, ask('n.names.test', { ...FORBIDDEN, lookups: ['n.names.test'] }));
  });
});

// The allowed address is one where a connection would be seen.
describe('with one address of the loopback allowed', () => {
  let scene: Scene;
  beforeAll(async () => {
    scene = await openScene({
      rules: port => [{ name: 'names', hosts: ['*.names.test'], ports: [port] }],
      upstream: { allow_private: ['127.0.0.1/32'] },
    });
  });
  afterAll(() => scene.close());

  const mixed: readonly (readonly [what: string, answers: readonly string[]])[] = [
    ['an allowed and a private address', ['127.0.0.1', '10.0.0.1']],
    ['a private and an allowed address', ['10.0.0.1', '127.0.0.1']],
    ['many allowed addresses and another at the end', [...Array<string>(9).fill('127.0.0.1'), '127.0.0.2']],
    ['an allowed IPv4 and a private IPv6 address', ['127.0.0.1', 'fd00::1']],
    ['an allowed and a metadata address', ['127.0.0.1', '169.254.169.254']],
    ['an allowed address and no address', ['127.0.0.1', '127.1']],
  ];
  test.each(mixed)('a name that leads to %s is refused whole', async (_, answers) => {
    const { port } = scene.upstream;
    scene.names.set('b.names.test', answers);
    await play(scene, ask('b.names.test', { port, ...FORBIDDEN, lookups: ['b.names.test'] }));
  });
});

describe('rebinding', () => {
  test('each connection is dialled where its own query, asked once, led to', async () => {
    const scene = await scenery({
      rules: port => [{ name: 'names', hosts: ['*.names.test'], ports: [port] }],
      upstream: { allow_private: ['127.0.0.1/32'] },
    });
    const { port } = scene.upstream;
    const authority = `rebind.names.test:${port}`;
    // The certificate is not for this name: the upstream sees a handshake and no request.
    scene.names.set('rebind.names.test', ['127.0.0.1']);
    const start = before(scene);
    const peer = await openTls(scene.session.proxy, scene.gate.ca, 'rebind.names.test', port);
    await peer.send(get(authority));
    expect(header(await readReply(peer), 'stubgate-reason')).toBe('upstream_tls');
    scene.names.set('rebind.names.test', ['127.0.0.2']);
    await peer.send(get(authority));
    expect(header(await readReply(peer), 'stubgate-reason')).toBe('forbidden_address');
    await checkAround(scene, start, {
      received: [peer],
      lines: 2,
      upstream: '',
      lookups: ['rebind.names.test', 'rebind.names.test'],
    });
    peer.cut();
  });

  test('a name that changes its mind while it is asked for is dialled at no other address', async () => {
    const scene = await scenery({
      rules: port => [{ name: 'wild', hosts: ['dynamic.wild.test'], ports: [port] }],
      upstream: { allow_private: ['127.0.0.1/32'] },
    });
    const { port } = scene.upstream;
    scene.names.set('dynamic.wild.test', ['10.0.0.1', '127.0.0.1']);
    await play(scene, ask('dynamic.wild.test', { port, ...FORBIDDEN, lookups: ['dynamic.wild.test'] }));
  });
});

/** Ways to write where a listener on loopback, or on every address, can be reached. */
describe('the gate’s own listeners', () => {
  test.each(['127.0.0.1', '::ffff:127.0.0.1', '0.0.0.0', '::'])(
    'the proxy listener is not dialled as %s',
    async address => {
      const probe = net.createServer().listen(0, '127.0.0.1');
      await once(probe, 'listening');
      const { port } = probe.address() as AddressInfo;
      probe.close();
      await once(probe, 'close');
      const scene = await scenery({
        rules: () => [
          { name: 'own', hosts: ['own.test'] },
          { name: 'own-http', hosts: ['own.test'], schemes: ['http'] },
          { name: 'own-names', hosts: ['*.own.test'], ports: [port] },
          { name: 'own-raw', hosts: ['raw.test'], action: 'tunnel' },
        ],
        config: { listen: { proxy: `127.0.0.1:${port}`, admin: '127.0.0.1:0' } },
        resolve: {
          'own.test': `${address.includes(':') ? `[${address}]` : address}:${port}`,
          'raw.test': `${address.includes(':') ? `[${address}]` : address}:${port}`,
        },
        upstream: { allow_private: ['0.0.0.0/0', '::/0'] },
      });
      await play(scene, ask('own.test', FORBIDDEN));
      scene.names.set('by-name.own.test', [address]);
      await play(scene, ask('by-name.own.test', { port, ...FORBIDDEN, lookups: ['by-name.own.test'] }));
      const plain = message(['GET http://own.test/ HTTP/1.1', 'Host: own.test', 'PROXY']);
      await play(scene, { name: '', over: 'proxy', send: plain, ...FORBIDDEN });
      const raw = message(['CONNECT raw.test:443 HTTP/1.1', 'Host: raw.test', 'PROXY']);
      await play(scene, { name: '', over: 'proxy', send: raw, ...FORBIDDEN });
    },
  );

  test.each(['127.0.0.1:0', '0.0.0.0:0', '[::]:0', '[::1]:0'])(
    'the admin listener on %s is not dialled',
    async where => {
      const scene = await scenery({
        rules: () => [{ name: 'own', hosts: ['*.own.test'], schemes: ['http'], ports: [1] }],
        config: { listen: { proxy: '127.0.0.1:0', admin: where } },
        upstream: { allow_private: ['0.0.0.0/0', '::/0'] },
      });
      const { gate } = scene.gate;
      const admin = await startAdmin(gate, writeTrustFiles(gate.caFile, gate.bundleFile), scene.gate.log);
      onTestFinished(() => admin.close());
      const port = Number(/:(\d+)$/.exec(admin.address)?.[1]);
      // The port is known only now: the operator adds it to the rule.
      scene.gate.rewrite(text => text.replace(/"ports": \[\s*1\s*\]/, `"ports": [${port}]`));
      const loopbacks = where.includes('[::1]')
        ? ['::1', '::']
        : ['127.0.0.1', '::ffff:127.0.0.1', '0.0.0.0'];
      for (const [i, address] of loopbacks.entries()) {
        const host = `a${i}.own.test`;
        scene.names.set(host, [address]);
        const send = message([
          `GET http://${host}:${port}/v1/sessions HTTP/1.1`,
          `Host: ${host}:${port}`,
          'PROXY',
        ]);
        await play(scene, { name: '', over: 'proxy', send, ...FORBIDDEN, lookups: [host] });
      }
    },
  );
});

describe('who is there', () => {
  const identities: readonly (readonly [what: string, make: () => Promise<ServerIdentity>])[] = [
    ['of an unknown CA', async () => (await createCa('Another CA')).issue(['id.test'])],
    ['of another name', async () => (await testCa()).issue(['other.test'])],
    ['of the parent name', async () => (await testCa()).issue(['test'])],
    ['of a wildcard that does not cover it', async () => (await testCa()).issue(['*.id.test'])],
    [
      'that has expired',
      async () => (await testCa()).issue(['id.test'], { notAfter: new Date(Date.now() - 1000) }),
    ],
    [
      'that is not valid yet',
      async () => (await testCa()).issue(['id.test'], { notBefore: new Date(Date.now() + 60_000) }),
    ],
  ];

  test.each(identities)(
    'an upstream with a certificate %s receives no byte of the request',
    async (_, make) => {
      const wrong = await startRaw({ tls: await make() });
      onTestFinished(() => wrong.close());
      const scene = await scenery({
        rules: () => [{ name: 'id', hosts: ['id.test'], inject: [{ credential: 'api', as: 'bearer' }] }],
        resolve: { 'id.test': wrong.address },
      });
      const send = message(['GET / HTTP/1.1', 'Host: id.test', 'Authorization: Bearer STUB']);
      await play(scene, { name: '', host: 'id.test', send, status: 502, reason: 'upstream_tls' });
      expect(wrong.connections.map(peer => peer.received.toString('latin1')).join('')).toBe('');
    },
  );

  test.each<[string, (socket: net.Socket) => void, string]>([
    ['speaks no TLS', socket => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'), 'upstream_tls'],
    ['closes at once', socket => socket.end(), 'upstream_unreachable'],
    ['resets at once', socket => socket.resetAndDestroy(), 'upstream_unreachable'],
  ])('an upstream that %s receives no credential', async (_, script, reason) => {
    const received: Buffer[] = [];
    const server = net.createServer(socket => {
      socket.on('data', (chunk: Buffer) => received.push(chunk)).on('error', () => {});
      script(socket);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const scene = await scenery({
      rules: () => [{ name: 'id', hosts: ['id.test'], inject: [{ credential: 'api', as: 'bearer' }] }],
      resolve: { 'id.test': `127.0.0.1:${(server.address() as AddressInfo).port}` },
    });
    const peer = await openTls(scene.session.proxy, scene.gate.ca, 'id.test');
    await peer.send(message(['GET / HTTP/1.1', 'Host: id.test', `Authorization: Bearer ${scene.stub}`]));
    const reply = await readReply(peer);
    expect([reply.status, header(reply, 'stubgate-reason')]).toEqual([502, reason]);
    expect(Buffer.concat(received).includes(scene.secret)).toBe(false);
    peer.cut();
  });

  test('nothing listens there', async () => {
    const scene = await scenery({ resolve: { 'open.test': '127.0.0.1:1' } });
    await play(scene, ask('open.test', { status: 502, reason: 'upstream_unreachable' }));
  });

  test.each([301, 302, 303, 307, 308])(
    'a redirect %i to another host is handed out, not followed',
    async status => {
      const scene = await scenery({});
      const start = before(scene);
      const answer = `HTTP/1.1 ${status} Over There\r\nLocation: https://other.test/x\r\nContent-Length: 0\r\n\r\n`;
      const send = message(['GET /x HTTP/1.1', 'Host: api.test', 'Authorization: Bearer STUB']);
      await play(scene, {
        name: '',
        send,
        status,
        answer,
        headers: [['location', 'https://other.test/x']],
        upstream: send.replace('STUB', 'SECRET'),
      });
      expect(scene.upstream.openedSince(start.upstream)).toBe(1);
    },
  );
});
