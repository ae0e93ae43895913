import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import type { ClientHttp2Session, OutgoingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Reason } from '../../src/errors.ts';
import { canary } from '../support/canary.ts';
import { ask, collect, type H2Received, openH2, openH2Socket, startH2 } from '../support/h2.ts';
import { FrameClient, SETTINGS } from '../support/h2-frames.ts';
import { Peer } from '../support/peer.ts';
import { ACCEPT, acceptOf, frame, KEY, readMessage, TEXT } from '../support/websocket.ts';
import { type Asked, connectHead, HOST, legChat, LEGS, legScene, shakeHands, type Version } from './legs.ts';
import { closing, expectClean, type Sandbox, sandbox } from './scene.ts';

const MASKED = { mask: true };

async function h2Client({ gate, session }: Sandbox): Promise<ClientHttp2Session> {
  const client = await openH2(session.proxy, gate.ca, HOST);
  onTestFinished(() => client.destroy());
  while (client.remoteSettings?.enableConnectProtocol !== true) await once(client, 'remoteSettings');
  return client;
}

describe('the offer', () => {
  test('stands in a second SETTINGS, so that who looks at the first alone goes on in HTTP/1.1', async () => {
    const { gate, session } = await legScene('h1');
    const raw = new FrameClient(await openH2Socket(session.proxy, gate.ca, HOST));
    onTestFinished(() => void raw.socket.destroy());
    await raw.until(() => raw.of(SETTINGS, 0).filter(({ payload }) => payload.length > 0).length > 1, 'both');
    const offers = raw.of(SETTINGS, 0).map(({ payload }) => {
      const ids = Array.from({ length: payload.length / 6 }, (_, i) => payload.readUInt16BE(6 * i));
      const at = ids.indexOf(0x8);
      return at < 0 ? undefined : payload.readUInt32BE(6 * at + 2);
    });
    expect(offers.slice(0, 2)).toEqual([undefined, 1]);
  });

  test('is taken with a key, too, as Node’s own client has it', async () => {
    const scene = await legScene('h1');
    const asking = await shakeHands('h2', scene, '/', [`sec-websocket-key: ${KEY}`]);
    const asked = await scene.upstream.next();
    expect(asked.fields).not.toContain(KEY);
    await asked.accept();
    expect((await asking.answered()).headers['sec-websocket-accept']).toBe(ACCEPT);
    asking.peer.cut();
  });
});

describe('an extended CONNECT', () => {
  const more = (fields: OutgoingHttpHeaders): OutgoingHttpHeaders => ({ ...connectHead('/'), ...fields });
  const cases: [string, (stub: string, secret: string) => OutgoingHttpHeaders, number, Reason][] = [
    ['for another protocol', () => more({ ':protocol': 'connect-udp' }), 501, 'upgrade_refused'],
    ['for HTTP in clear', () => more({ ':protocol': 'h2c' }), 501, 'upgrade_refused'],
    ['for a protocol that is no word', () => more({ ':protocol': 'web socket' }), 501, 'upgrade_refused'],
    ['without a version', () => more({ 'sec-websocket-version': undefined }), 400, 'malformed_request'],
    ['of an old version', () => more({ 'sec-websocket-version': '8' }), 400, 'malformed_request'],
    ['with a key that is none', () => more({ 'sec-websocket-key': 'x' }), 400, 'malformed_request'],
    ['with a length', () => more({ 'content-length': '0' }), 400, 'malformed_request'],
    ['with Expect', () => more({ expect: '100-continue' }), 400, 'malformed_request'],
    ['in clear', () => more({ ':scheme': 'http' }), 400, 'malformed_request'],
    ['to another host', () => more({ ':authority': 'evil.test' }), 400, 'host_mismatch'],
    ['to a path of two readings', () => more({ ':path': '/a/../b' }), 400, 'ambiguous_path'],
    ['to a path that is denied', () => more({ ':path': '/denied' }), 403, 'rule_denies'],
    [
      'with a stub where none belongs',
      stub => more({ 'sec-websocket-protocol': `v1, ${stub}` }),
      403,
      'stub_misplaced',
    ],
    [
      'with a stub in its key',
      stub => more({ 'sec-websocket-key': [KEY, stub] as never }),
      403,
      'stub_misplaced',
    ],
    ['with a real secret', (_, secret) => more({ 'x-a': secret }), 403, 'secret_in_request'],
    [
      'with somebody else’s credential',
      () => more({ authorization: 'Bearer other' }),
      403,
      'foreign_credential',
    ],
  ];

  test.each(cases)('%s is refused, and the connection goes on', async (_, fields, status, code) => {
    const secret = canary('key-');
    const upstream = closing(await startH2({ hosts: [HOST] }, stream => stream.respond({ ':status': 200 })));
    const box = await sandbox({
      credentials: { api: { secret, env: 'API_KEY' } },
      rules: [
        { name: 'no', hosts: [HOST], paths: ['/denied'], action: 'deny' },
        { name: 'chat', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer' }] },
      ],
      upstreams: { [HOST]: upstream },
    });
    const client = await h2Client(box);
    const stream = client.request(fields(box.session.stubs['API_KEY'] ?? '', secret), { endStream: false });
    const reply = await collect(stream);
    expect([reply.status, reply.headers['stubgate-reason'], reply.code]).toEqual([status, code, 0]);
    expect(JSON.parse(reply.body.toString())).toMatchObject({ error: { code } });
    expectClean(JSON.stringify([reply.raw, reply.body.toString()]), secret);
    expect(upstream.requests).toEqual([]);
    const again = await ask(client, { ':path': '/denied', ':authority': HOST });
    expect(again.status).toBe(403);
    const lines = await box.gate.audit(2);
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatchObject({ verdict: 'deny', reason: code, status });
  });

  test('whose stream ends with its head, or before its answer, is nobody’s', async () => {
    const scene = await legScene('h1');
    const client = await h2Client(scene);
    const ended = await collect(client.request(connectHead('/'), { endStream: true }));
    expect([ended.status, ended.headers['stubgate-reason']]).toEqual([400, 'malformed_request']);
    const stream = client.request(connectHead('/'), { endStream: false });
    const asked = await scene.upstream.next();
    stream.end();
    await asked.peer.end();
    expect((await collect(stream)).status).toBe(0);
    const lines = await scene.gate.audit(2);
    expect(lines.map(({ status }) => status)).toEqual([400, 0]);
  });

  test('that the upstream answers with a 200 of HTTP/1.1 is not open', async () => {
    const scene = await legScene('h1');
    const asking = await shakeHands('h2', scene, '/');
    await (await scene.upstream.next()).refuse(200, {}, 'a page');
    const { status, headers } = await asking.answered();
    expect([status, headers['stubgate-reason']]).toEqual([502, 'upstream_malformed']);
    expect((await scene.gate.audit(1))[0]).toMatchObject({ status: 502, reason: 'upstream_malformed' });
  });
});

describe('what an upstream answers to an extended CONNECT', () => {
  const wrong: [string, Record<string, string | number>, boolean][] = [
    ['with its end', { ':status': 200 }, true],
    ['with no content', { ':status': 204 }, true],
    ['with an extension', { ':status': 200, 'sec-websocket-extensions': 'permessage-deflate' }, false],
    ['with a subprotocol nobody offered', { ':status': 200, 'sec-websocket-protocol': 'x' }, false],
  ];
  test.each(wrong)('%s is refused, and its stream reset', async (_, head, endStream) => {
    const codes: number[] = [];
    const settings = { enableConnectProtocol: true };
    const upstream = closing(
      await startH2({ hosts: [HOST], settings }, stream => {
        stream.on('close', () => codes.push(stream.rstCode));
        stream.respond(head, { endStream });
      }),
    );
    const box = await sandbox({
      rules: [{ name: 'chat', hosts: [HOST] }],
      upstreams: { [HOST]: upstream },
    });
    for (const version of ['h1', 'h2'] as const) {
      const asking = await shakeHands(version, box, '/');
      const { status, headers } = await asking.answered();
      expect([status, headers['stubgate-reason']]).toEqual([502, 'upstream_malformed']);
      asking.peer.cut();
    }
    expect(await box.gate.audit(2)).toHaveLength(2);
    expect(codes).toHaveLength(2);
  });
});

describe('a WebSocket on a stream', () => {
  test('has more said before its answer than is held', async () => {
    const scene = await legScene('h2');
    const long = 'abcdefgh'.repeat(50_000);
    const asking = await shakeHands('h2', scene, '/');
    const sending = asking.peer.send(frame(TEXT, long, MASKED));
    const asked = await scene.upstream.next();
    await asked.accept();
    await asking.answered();
    expect((await readMessage(asked.peer)).data.toString()).toBe(long);
    await sending;
    asking.peer.cut();
    await asked.peer.end();
    expect((await scene.gate.audit(1))[0]?.bytes_in).toBeGreaterThan(long.length);
  });

  test('that its client ends without a Close ends for the upstream', async () => {
    const { client, server, gate } = await legChat(['h2', 'h2']);
    await client.send(frame(TEXT, 'last words', MASKED));
    client.finish();
    expect((await readMessage(server)).data.toString()).toBe('last words');
    await server.end();
    expect(server.rest).toHaveLength(0);
    server.finish();
    expect(await gate.audit(1)).toHaveLength(1);
  });

  test('has no trailers', async () => {
    const scene = await legScene('h2');
    const client = await h2Client(scene);
    const stream = client.request(connectHead('/'), { endStream: false, waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-token': scene.stub }));
    const asked = await scene.upstream.next();
    const trailers: unknown[] = [];
    asked.peer.socket.on('trailers', got => trailers.push(got));
    await asked.accept();
    await once(stream, 'response');
    stream.end(frame(TEXT, 'x', MASKED));
    expect((await readMessage(asked.peer)).data.toString()).toBe('x');
    await asked.peer.end();
    asked.peer.finish();
    expect(trailers).toEqual([]);
    expect(await scene.gate.audit(1)).toHaveLength(1);
  });

  test('ends with the connection that it is on, each with its line in the audit', async () => {
    const scene = await legScene('h2');
    const client = await h2Client(scene);
    const open = async () => {
      const stream = client.request(connectHead('/'), { endStream: false });
      const asked = await scene.upstream.next();
      await asked.accept();
      await once(stream, 'response');
      return { stream, asked };
    };
    const [one, two] = [await open(), await open()];
    client.destroy();
    await Promise.all([one.asked.peer.end(), two.asked.peer.end()]);
    expect(await scene.gate.audit(2)).toHaveLength(2);
    const other = await legChat(['h1', 'h2']);
    (other.server.socket as unknown as ServerHttp2Stream).session?.destroy();
    await other.client.end();
    expect(await other.gate.audit(1)).toHaveLength(1);
  });

  test('is one of a client’s streams: another one that does not read does not stop it', async () => {
    const { session, gate, upstream } = await legScene('h2');
    const client = await h2Client({ session, gate, env: {} });
    const stuck = client.request(connectHead('/stuck'), { endStream: false });
    const first = await upstream.next();
    await first.accept();
    await once(stuck, 'response');
    stuck.pause();
    for (let i = 0; i < 40; i++) void first.peer.send(frame(TEXT, 'x'.repeat(100_000)));
    const live = client.request(connectHead('/live'), { endStream: false });
    const second = await upstream.next();
    await second.accept();
    const peer = new Peer(live as never);
    await second.peer.send(frame(TEXT, 'hello'));
    expect((await readMessage(peer)).data.toString()).toBe('hello');
    await peer.send(frame(TEXT, 'up', MASKED));
    expect((await readMessage(second.peer)).data.toString()).toBe('up');
    client.destroy();
    await second.peer.end();
    expect(await gate.audit(2)).toHaveLength(2);
  });
});

describe('the connection to an upstream', () => {
  const page = { ':path': '/', ':authority': HOST };
  const answer = (stream: ServerHttp2Stream, { headers }: H2Received): void => {
    stream.respond({ ':status': 200 });
    if (headers[':method'] === 'GET') stream.end('page');
    else stream.write(frame(TEXT, 'from h2'));
  };
  const onUpgrade = (request: IncomingMessage, socket: Duplex): void => {
    const key = String(request.headers['sec-websocket-key']);
    const fields = ['Upgrade: websocket', 'Connection: Upgrade', `Sec-WebSocket-Accept: ${acceptOf(key)}`];
    socket.write(`HTTP/1.1 101 Switching\r\n${fields.join('\r\n')}\r\n\r\n`);
    socket.write(frame(TEXT, 'from h1'));
  };
  const rules = [{ name: 'chat', hosts: [HOST] }];
  const said = async (box: Sandbox, version: Version): Promise<string> => {
    const asking = await shakeHands(version, box, '/ws');
    await asking.answered();
    const { data } = await readMessage(asking.peer);
    asking.peer.cut();
    return data.toString();
  };

  test('carries a WebSocket beside other streams, if it takes one', async () => {
    const settings = { enableConnectProtocol: true };
    const upstream = closing(await startH2({ hosts: [HOST], settings, onUpgrade }, answer));
    const box = await sandbox({ rules, upstreams: { [HOST]: upstream } });
    // Nothing is open yet: a client in HTTP/1.1 gets one of its own.
    expect(await said(box, 'h1')).toBe('from h1');
    const client = await h2Client(box);
    expect((await ask(client, page)).body.toString()).toBe('page');
    expect([await said(box, 'h2'), await said(box, 'h1')]).toEqual(['from h2', 'from h2']);
    expect((await ask(client, page)).body.toString()).toBe('page');
    expect(upstream.requests.map(({ headers, connection }) => [headers[':method'], connection])).toEqual([
      ['GET', 0],
      ['CONNECT', 0],
      ['CONNECT', 0],
      ['GET', 0],
    ]);
  });

  test('stays for others if it takes none: the WebSocket gets one in HTTP/1.1', async () => {
    const upstream = closing(await startH2({ hosts: [HOST], onUpgrade }, answer));
    const box = await sandbox({ rules, upstreams: { [HOST]: upstream } });
    expect([await said(box, 'h2'), await said(box, 'h2'), await said(box, 'h1')]).toEqual(
      Array(3).fill('from h1'),
    );
    expect((await ask(await h2Client(box), page)).body.toString()).toBe('page');
    expect(upstream.sessions).toHaveLength(1);
  });

  test('of an origin that speaks HTTP/2 only, and takes none, is none', async () => {
    const upstream = closing(await startH2({ hosts: [HOST] }, answer));
    const box = await sandbox({ rules, upstreams: { [HOST]: upstream } });
    for (const version of ['h2', 'h1'] as const) {
      const asking = await shakeHands(version, box, '/ws');
      const { status, headers } = await asking.answered();
      expect([status, headers['stubgate-reason']]).toEqual([502, 'upstream_tls']);
      asking.peer.cut();
    }
    expect(upstream.requests).toEqual([]);
  });

  test('is one of its session alone', async () => {
    const settings = { enableConnectProtocol: true };
    const upstream = closing(await startH2({ hosts: [HOST], settings }, answer));
    const box = await sandbox({ rules, upstreams: { [HOST]: upstream } });
    const other = { ...box, session: await box.gate.session() };
    expect([await said(box, 'h2'), await said(other, 'h2'), await said(other, 'h1')]).toEqual(
      Array(3).fill('from h2'),
    );
    expect(upstream.requests.map(({ connection }) => connection)).toEqual([0, 1, 1]);
  });
});

describe.each(LEGS)('a 401 to a handshake from %s to %s', (client, version) => {
  const rotating = async () => {
    const scene = await legScene(version);
    const rotated = canary('key-');
    const more = [`authorization: Bearer ${scene.stub}`];
    const asking = await shakeHands(client, scene, '/chat', more);
    return { ...scene, rotated, asking, rotate: () => writeFileSync(secretFile(scene.gate), rotated) };
  };
  const bearer = ({ fields }: Asked): string | undefined =>
    fields[fields.findIndex(one => one.toLowerCase() === 'authorization') + 1];

  test('fetches the credential once more, and shakes hands with its new value', async () => {
    const { upstream, secret, rotated, rotate, asking, gate, stub } = await rotating();
    const first = await upstream.next();
    rotate();
    await first.refuse(401, {}, `not ${secret}`);
    const second = await upstream.next();
    await second.accept([], frame(TEXT, `hello ${rotated} ${secret}`));
    expect([bearer(first), bearer(second)]).toEqual([`Bearer ${secret}`, `Bearer ${rotated}`]);
    const keys = [first, second].map(({ fields }) => fields[fields.indexOf('Sec-WebSocket-Key') + 1]);
    if (version === 'h1') expect(keys[0]).not.toBe(keys[1]);
    expect((await asking.answered()).status).toBe(client === 'h1' ? 101 : 200);
    const { data } = await readMessage(asking.peer);
    expect(data.toString()).toBe(`hello ${stub} ${stub}`);
    expectClean(asking.peer.received, rotated);
    expectClean(asking.peer.received, secret);
    asking.peer.cut();
    await second.peer.end();
    const lines = await gate.audit(1);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatchObject({ status: 101, verdict: 'allow', scrubbed: 2 });
    expect(lines[0]?.injected).toHaveLength(1);
  });

  test('is passed on if the value is still the same, or is refused again', async () => {
    const same = await rotating();
    await (await same.upstream.next()).refuse(401, {}, `not ${same.secret}`);
    expect((await same.asking.answered()).status).toBe(401);
    same.asking.peer.cut();
    const twice = await rotating();
    const first = await twice.upstream.next();
    twice.rotate();
    await first.refuse(401);
    await (await twice.upstream.next()).refuse(401, {}, `not ${twice.rotated}`);
    expect((await twice.asking.answered()).status).toBe(401);
    expect((await twice.asking.peer.bytes(4 + twice.stub.length)).toString()).toBe(`not ${twice.stub}`);
    expectClean(twice.asking.peer.received, twice.rotated);
    twice.asking.peer.cut();
    expect((await twice.gate.audit(1))[0]).toMatchObject({ status: 401, verdict: 'allow' });
  });
});

function secretFile({ caFile }: Sandbox['gate']): string {
  return join(caFile, '../../api.secret');
}
