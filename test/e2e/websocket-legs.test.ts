import { performance } from 'node:perf_hooks';
import { describe, expect, test } from 'vitest';
import { BINARY, CLOSE, close, frame, PING, PONG, readMessage, TEXT } from '../support/websocket.ts';
import { HOST, type Legs, legChat, LEGS, legScene, shakeHands } from './legs.ts';
import { expectClean } from './scene.ts';

const MASKED = { mask: true };
const JSON_TOKEN = [{ credential: 'api', as: 'websocket', pointer: '/auth/token' }];

describe.each(LEGS)('a WebSocket from %s to %s', (...legs: [...Legs]) => {
  const [client, upstream] = legs;

  test('is asked for in the upstream’s version, and answered in the client’s', async () => {
    const scene = await legScene(upstream);
    const more = [
      `authorization: Bearer ${scene.stub}`,
      'origin: https://app.test',
      'sec-websocket-protocol: v1, chat',
      'sec-websocket-extensions: permessage-deflate',
    ];
    const asking = await shakeHands(client, scene, '/chat?room=1', more);
    const asked = await scene.upstream.next();
    await asked.accept(['sec-websocket-protocol: chat', `x-echo: ${scene.secret}`, 'alt-svc: h3=":443"']);
    const { status, headers } = await asking.answered();
    const fields = [
      'sec-websocket-version',
      '13',
      'authorization',
      `Bearer ${scene.secret}`,
      'origin',
      'https://app.test',
      'sec-websocket-protocol',
      'v1, chat',
    ];
    const first =
      upstream === 'h1'
        ? [':line', 'GET /chat?room=1 HTTP/1.1', client === 'h1' ? 'Host' : 'host', HOST]
        : [
            ':method',
            'CONNECT',
            ':protocol',
            'websocket',
            ':scheme',
            'https',
            ':authority',
            HOST,
            ':path',
            '/chat?room=1',
          ];
    const own = ['Connection', 'Upgrade', 'Upgrade', 'websocket', 'Sec-WebSocket-Key', expect.any(String)];
    const sent = asked.fields.map((one, i) =>
      i % 2 === 0 && one.startsWith('Sec-WebSocket-V') ? one.toLowerCase() : one,
    );
    expect(sent).toEqual([...first, ...fields, ...(upstream === 'h1' ? own : [])]);
    const shown = Object.fromEntries(Object.entries(headers).filter(([name]) => name !== 'date'));
    expect({ status, ...shown }).toEqual({
      status: client === 'h1' ? 101 : 200,
      'x-echo': scene.stub,
      'sec-websocket-protocol': 'chat',
      ...(client === 'h1' && {
        upgrade: 'websocket',
        connection: 'Upgrade',
        'sec-websocket-accept': expect.any(String) as unknown,
      }),
    });
    asking.peer.cut();
    await asked.peer.end();
    expect((await scene.gate.audit(1))[0]).toMatchObject({
      rule: 'chat',
      verdict: 'allow',
      method: 'GET',
      path: '/chat',
      status: 101,
      injected: [{ credential: 'api', placement: 'header authorization' }],
      scrubbed: 1,
      stubs_seen: 1,
    });
  });

  test('carries messages, scrubbed at every cut, and both sides’ end', async () => {
    const box = await legChat(legs);
    const { secret, stub, server, gate } = box;
    const body = Buffer.from(`<${secret}>`);
    for (let at = 0; at <= body.length; at += 3) {
      const first = frame(BINARY, body.subarray(0, at), { fin: false });
      await server.send(first);
      await server.send(frame(0, body.subarray(at)));
      expect((await readMessage(box.client)).data.toString(), `cut at ${at}`).toBe(`<${stub}>`);
    }
    await box.client.send(frame(TEXT, 'up', MASKED));
    await box.client.send(frame(PING, 'are you there', MASKED));
    const [text, ping] = [await readMessage(server), await readMessage(server)];
    expect([text.data.toString(), ping.opcode, ping.data.toString()]).toEqual(['up', PING, 'are you there']);
    expect([text, ping].every(({ frames }) => frames.every(({ key }) => key !== null))).toBe(true);
    await server.send(frame(PONG, `yes ${secret}`));
    expect((await readMessage(box.client)).data.toString()).toBe(`yes ${stub}`);
    expect(gate.auditText()).toBe('');
    await box.client.send(frame(CLOSE, close(3001, 'done'), MASKED));
    expect((await readMessage(server)).data).toEqual(close(3001, 'done'));
    await server.send(frame(CLOSE, close(3001)));
    expect((await readMessage(box.client)).data).toEqual(close(3001));
    // In HTTP/2 a client that does not end its stream keeps it: what is looked at is that the gate ends its side.
    expect([(await box.client.end()).how, (await server.end()).how]).toEqual(['end', 'end']);
    box.client.finish();
    server.finish();
    expectClean(box.client.received, secret);
    const lines = await gate.audit(1);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatchObject({ status: 101, verdict: 'allow', reason: null });
    const frames = box.client.received.length - (client === 'h1' ? headLength(box.client.received) : 0);
    expect(lines[0]?.bytes_out).toBeGreaterThan(frames);
    expect(lines[0]?.bytes_out).toBeLessThan(frames + 400);
  });

  test('takes what comes too early, from either side', async () => {
    const scene = await legScene(upstream);
    const early = frame(TEXT, 'early', MASKED);
    const asking = await shakeHands(client, scene, '/', [`authorization: Bearer ${scene.stub}`], early);
    const asked = await scene.upstream.next();
    expect(asked.peer.rest).toHaveLength(0);
    await asked.accept([], frame(TEXT, `hello ${scene.secret}`));
    await asking.answered();
    expect((await readMessage(asked.peer)).data.toString()).toBe('early');
    expect((await readMessage(asking.peer)).data.toString()).toBe(`hello ${scene.stub}`);
    asking.peer.cut();
    await asked.peer.end();
    const [line] = await scene.gate.audit(1);
    // The head and the one frame, once.
    expect(line?.bytes_in).toBeGreaterThan(100 + early.length);
    expect(line?.bytes_in).toBeLessThan(300 + early.length);
  });

  test('with a real secret in a message is ended', async () => {
    const box = await legChat(legs);
    await box.client.send(
      Buffer.concat([frame(TEXT, `x ${box.secret}`, MASKED), frame(TEXT, 'more', MASKED)]),
    );
    const told = await readMessage(box.client);
    expect([told.opcode, told.data.readUInt16BE()]).toEqual([CLOSE, 1008]);
    expect(told.data.toString('utf8', 2)).toMatch(/^secret_in_request: /);
    await box.client.end();
    box.client.finish();
    const { bytes } = await box.server.end();
    expectClean(upstream === 'h1' ? bytes.subarray(headLength(bytes)) : bytes, box.secret);
    expect(box.server.rest.subarray(0, 2)).toEqual(Buffer.from([0x88, 0x82]));
    const lines = await box.gate.audit(1);
    expect(lines[0]).toMatchObject({ verdict: 'deny', reason: 'secret_in_request', status: 101 });
    expect(box.gate.logs).toContainEqual(expect.objectContaining({ message: 'alarm' }));
  });

  test('has a stub swapped at its pointer in messages', async () => {
    const box = await legChat(legs, JSON_TOKEN);
    const text = `{"auth":{"token":"${box.stub}"}}`;
    await box.client.send(frame(TEXT, text, MASKED));
    expect((await readMessage(box.server)).data.toString()).toBe(text.replace(box.stub, box.secret));
    await box.client.send(frame(TEXT, `{"x":"${box.stub}"}`, MASKED));
    const told = await readMessage(box.client);
    expect(told.data.toString('utf8', 2)).toMatch(/^stub_misplaced: /);
    box.client.cut();
    await box.server.end();
    expect((await box.gate.audit(1))[0]).toMatchObject({ reason: 'stub_misplaced', stubs_seen: 2 });
  });

  test('ends for the other side where one side is cut', async () => {
    const one = await legChat(legs);
    await one.server.send(frame(TEXT, 'last words'));
    expect((await readMessage(one.client)).data.toString()).toBe('last words');
    one.server.cut();
    await one.client.end();
    expect(one.client.rest).toHaveLength(0);
    one.client.finish();
    expect(await one.gate.audit(1)).toHaveLength(1);
    const other = await legChat(legs);
    other.client.cut();
    await other.server.end();
    expect(await other.gate.audit(1)).toHaveLength(1);
  });

  test('ends with its session, within a second', async () => {
    const box = await legChat(legs);
    const before = performance.now();
    await box.gate.revoke(box.session.id);
    await Promise.all([box.client.end(), box.server.end()]);
    expect(performance.now() - before).toBeLessThan(1000);
    expect(await box.gate.audit(1)).toHaveLength(1);
  });

  test('is told 1001 when the gate shuts down', async () => {
    const box = await legChat(legs);
    const stopped = box.gate.stop();
    expect((await readMessage(box.client)).data.readUInt16BE()).toBe(1001);
    expect((await readMessage(box.server)).data.readUInt16BE()).toBe(1001);
    await box.client.send(frame(CLOSE, close(1001), MASKED));
    await box.server.send(frame(CLOSE, close(1001)));
    box.client.finish();
    box.server.finish();
    await Promise.all([box.client.end(), box.server.end(), stopped]);
    expect(await box.gate.audit(1)).toHaveLength(1);
  });

  test('is closed when nothing moves', async () => {
    const box = await legChat(legs, undefined, { limits: { idle: '1s' } });
    expect((await readMessage(box.client)).data).toEqual(close(1001, 'idle'));
    expect((await readMessage(box.server)).data).toEqual(close(1001, 'idle'));
    box.client.cut();
    await box.server.end();
    expect(await box.gate.audit(1)).toHaveLength(1);
  });

  test('is refused as the upstream refuses it', async () => {
    const scene = await legScene(upstream);
    const asking = await shakeHands(client, scene, '/', [`authorization: Bearer ${scene.stub}`]);
    await (await scene.upstream.next()).refuse(403, { 'x-echo': scene.secret }, `no ${scene.secret}`);
    const { status, headers } = await asking.answered();
    expect([status, headers['x-echo']]).toEqual([403, scene.stub]);
    expect((await asking.peer.bytes(3 + scene.stub.length)).toString()).toBe(`no ${scene.stub}`);
    await asking.peer.end();
    expect((await scene.gate.audit(1))[0]).toMatchObject({ status: 403, verdict: 'allow', scrubbed: 2 });
  });
});

function headLength(bytes: Buffer): number {
  return bytes.indexOf('\r\n\r\n') + 4;
}
