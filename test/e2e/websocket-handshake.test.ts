import { describe, expect, test } from 'vitest';
import type { Reason } from '../../src/errors.ts';
import { header, openTls, readReply } from '../support/raw-client.ts';
import { accept, ACCEPT, acceptOf, frame, handshake, KEY, readMessage, TEXT } from '../support/websocket.ts';
import { chat, chatScene, HOST } from './chat.ts';
import { expectClean } from './scene.ts';

const MASKED = { mask: true };

test('the upstream gets a handshake of the gate’s own, the client an answer to its own', async () => {
  const { client, upstream, secret, stub } = await chatScene();
  const more = [
    'Origin: https://app.test',
    `Authorization: Bearer ${stub}`,
    'Sec-WebSocket-Protocol: v1, chat',
    'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-other',
  ];
  await client.send(handshake(HOST, '/chat?room=1', more));
  const server = await upstream.next();
  const head = await accept(server, [
    'Sec-WebSocket-Protocol: chat',
    `X-Reflected: Bearer ${secret}`,
    'Alt-Svc: h3=":443"',
    'Stubgate-Reason: no_rule',
    'Sec-WebSocket-Version: 13',
  ]);
  const key = /^Sec-WebSocket-Key: (.+)\r$/m.exec(head)?.[1] ?? '';
  expect(Buffer.from(key, 'base64')).toHaveLength(16);
  expect(key).not.toBe(KEY);
  expect(head).toBe(
    [
      'GET /chat?room=1 HTTP/1.1',
      `Host: ${HOST}`,
      'Sec-WebSocket-Version: 13',
      'Origin: https://app.test',
      `Authorization: Bearer ${secret}`,
      'Sec-WebSocket-Protocol: v1, chat',
      'Connection: Upgrade',
      'Upgrade: websocket',
      `Sec-WebSocket-Key: ${key}`,
      '\r\n',
    ].join('\r\n'),
  );
  expect(await client.head()).toBe(
    [
      'HTTP/1.1 101 Switching Protocols',
      `X-Reflected: Bearer ${stub}`,
      'Upgrade: websocket',
      'Connection: Upgrade',
      `Sec-WebSocket-Accept: ${ACCEPT}`,
      'Sec-WebSocket-Protocol: chat',
      '\r\n',
    ].join('\r\n'),
  );
  expectClean(client.received, secret);
  client.cut();
});

describe('bytes that come too early', () => {
  test('from the client wait for the 101, then go first', async () => {
    const { client, upstream, stub } = await chatScene();
    const head = handshake(HOST, '/chat', [`Authorization: Bearer ${stub}`]);
    await client.send(Buffer.concat([Buffer.from(head), frame(TEXT, 'early', MASKED)]));
    const server = await upstream.next();
    await server.head();
    expect(server.rest).toHaveLength(0);
    const key = /^Sec-WebSocket-Key: (.+)\r$/m.exec(server.received.toString())?.[1] ?? '';
    const lines = [
      'HTTP/1.1 101 x',
      'Upgrade: websocket',
      'Connection: Upgrade',
      `Sec-WebSocket-Accept: ${acceptOf(key)}`,
    ];
    await server.send(`${lines.join('\r\n')}\r\n\r\n`);
    expect((await readMessage(server)).data.toString()).toBe('early');
    client.cut();
  });

  test('from the upstream are its first frames, scrubbed', async () => {
    const { client, upstream, secret, stub } = await chatScene();
    await client.send(handshake(HOST, '/chat', [`Authorization: Bearer ${stub}`]));
    await accept(await upstream.next(), [], frame(TEXT, `hello ${secret}`));
    await client.head();
    expect((await readMessage(client)).data.toString()).toBe(`hello ${stub}`);
    client.cut();
  });

  test('are never a second request, if the upstream does not switch', async () => {
    const { client, upstream, gate } = await chatScene();
    const smuggled = `GET /smuggled HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;
    await client.send(handshake(HOST, '/chat') + smuggled);
    const server = await upstream.next();
    await server.head();
    await server.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno');
    expect((await readReply(client)).status).toBe(200);
    await client.end();
    expect(server.received.toString()).not.toContain('smuggled');
    expect(upstream.connections).toHaveLength(1);
    expect(await gate.audit(1)).toHaveLength(1);
  });
});

test('an answer other than 101 passes like any, scrubbed, and closes', async () => {
  const { client, upstream, secret, stub, gate } = await chatScene();
  await client.send(handshake(HOST, '/chat', [`Authorization: Bearer ${stub}`]));
  const server = await upstream.next();
  await server.head();
  const body = `not with ${secret}`;
  await server.send(
    `HTTP/1.1 403 Forbidden\r\nX-Key: ${secret}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  const reply = await readReply(client);
  expect([reply.status, header(reply, 'x-key'), reply.body.toString()]).toEqual([
    403,
    stub,
    `not with ${stub}`,
  ]);
  expect(header(reply, 'connection')).toBe('close');
  await client.end();
  expectClean(client.received, secret);
  expect((await gate.audit(1))[0]).toMatchObject({ status: 403, verdict: 'allow', scrubbed: 2 });
});

describe('a 101 that is not an answer to the handshake is refused', () => {
  const lines = ['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Accept: ACCEPT'];
  const without = (name: string): string[] => lines.filter(line => !line.startsWith(name));
  test.each([
    ['without the accept', without('Sec-WebSocket-Accept')],
    [
      'with the accept of the client’s key',
      [...without('Sec-WebSocket-Accept'), `Sec-WebSocket-Accept: ${ACCEPT}`],
    ],
    ['to another protocol', [...without('Upgrade'), 'Upgrade: h2c']],
    ['without Connection', without('Connection')],
    ['with compression that nobody offered', [...lines, 'Sec-WebSocket-Extensions: permessage-deflate']],
    ['with a subprotocol that nobody offered', [...lines, 'Sec-WebSocket-Protocol: other']],
    ['with two subprotocols', [...lines, 'Sec-WebSocket-Protocol: v1', 'Sec-WebSocket-Protocol: chat']],
    ['with a body', [...lines, 'Content-Length: 5']],
    ['in chunks', [...lines, 'Transfer-Encoding: chunked']],
    ['that closes', [...without('Connection'), 'Connection: Upgrade, close']],
  ])('%s', async (_, fields) => {
    const { client, upstream, stub, secret, gate } = await chatScene();
    await client.send(
      handshake(HOST, '/', [`Authorization: Bearer ${stub}`, 'Sec-WebSocket-Protocol: v1, chat']),
    );
    const server = await upstream.next();
    const key = /^Sec-WebSocket-Key: (.+)\r$/m.exec(await server.head())?.[1] ?? '';
    const head = ['HTTP/1.1 101 Switching Protocols', ...fields]
      .join('\r\n')
      .replace('ACCEPT', acceptOf(key));
    await server.send(Buffer.concat([Buffer.from(`${head}\r\n\r\n`), frame(TEXT, secret)]));
    const reply = await readReply(client);
    expect([reply.status, header(reply, 'stubgate-reason')]).toEqual([502, 'upstream_malformed']);
    await client.end();
    await server.end();
    expectClean(client.received, secret);
    expect((await gate.audit(1))[0]).toMatchObject({
      verdict: 'deny',
      reason: 'upstream_malformed',
      status: 502,
    });
  });
});

describe('a handshake that is refused never reaches the upstream', () => {
  const asked = (change: (head: string) => string): string => change(handshake(HOST, '/chat'));
  test.each<[string, string, number, Reason]>([
    ['POST', asked(head => head.replace('GET', 'POST')), 400, 'malformed_request'],
    ['without a key', asked(head => head.replace(/Sec-WebSocket-Key.*\r\n/, '')), 400, 'malformed_request'],
    ['with a short key', asked(head => head.replace(KEY, 'AAAA')), 400, 'malformed_request'],
    ['of version 8', asked(head => head.replace('Version: 13', 'Version: 8')), 400, 'malformed_request'],
    [
      'without Connection',
      asked(head => head.replace('Connection: Upgrade\r\n', '')),
      400,
      'malformed_request',
    ],
    [
      'with a body',
      asked(head => head.replace('\r\n\r\n', '\r\nContent-Length: 1\r\n\r\nx')),
      400,
      'malformed_request',
    ],
    [
      'to two protocols',
      asked(head => head.replace(': websocket', ': websocket, h2c')),
      501,
      'upgrade_refused',
    ],
    ['to another protocol', asked(head => head.replace(': websocket', ': irc')), 501, 'upgrade_refused'],
    [
      'with two Upgrades',
      asked(head => head.replace('\r\n\r\n', '\r\nUpgrade: websocket\r\n\r\n')),
      400,
      'malformed_request',
    ],
  ])('%s', async (_, head, status, reason) => {
    const { client, upstream, gate } = await chatScene();
    await client.send(head);
    const reply = await readReply(client);
    expect([reply.status, header(reply, 'stubgate-reason')]).toEqual([status, reason]);
    await client.end();
    expect(upstream.connections).toHaveLength(0);
    expect((await gate.audit(1))[0]).toMatchObject({ verdict: 'deny', reason, status });
  });

  test('to a host that no rule allows', async () => {
    const { session, gate } = await chatScene();
    const client = await openTls(session.proxy, gate.ca, 'denied.corp.test');
    await client.send(handshake('denied.corp.test', '/chat'));
    expect(header(await readReply(client), 'stubgate-reason')).toBe('no_rule');
    client.cut();
  });

  test('with a stub where it does not belong', async () => {
    const { client, upstream, stub } = await chatScene();
    await client.send(handshake(HOST, '/chat', [`Sec-WebSocket-Protocol: chat, ${stub}`]));
    expect(header(await readReply(client), 'stubgate-reason')).toBe('stub_misplaced');
    await client.end();
    expect(upstream.connections).toHaveLength(0);
  });

  test('with a real secret in it, however malformed', async () => {
    const { client, secret, upstream, session, gate } = await chat();
    client.cut();
    const next = await openTls(session.proxy, gate.ca, HOST);
    await next.send(handshake(HOST, '/chat', [`X-Note: ${secret}`]).replace('Version: 13', 'Version: 8'));
    expect(header(await readReply(next), 'stubgate-reason')).toBe('secret_in_request');
    await next.end();
    expect(upstream.connections).toHaveLength(1);
  });
});
