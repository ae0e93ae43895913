import { describe, expect, test } from 'vitest';
import {
  BINARY,
  CLOSE,
  close,
  frame,
  PING,
  PONG,
  readFrame,
  readMessage,
  TEXT,
} from '../support/websocket.ts';
import { type Chat, chat } from './chat.ts';
import { expectClean } from './scene.ts';

const MASKED = { mask: true };
const JSON_TOKEN = [{ credential: 'api', as: 'websocket', pointer: '/auth/token' }];

/** Fragments of one message, one for each piece. */
function fragments(opcode: number, pieces: readonly (string | Buffer)[], mask = false): Buffer[] {
  return pieces.map((piece, i) => frame(i === 0 ? opcode : 0, piece, { fin: i === pieces.length - 1, mask }));
}

/** The Close that the gate sent, and what the audit says of it. */
async function expectEnded(scene: Chat, code: number, reason: RegExp): Promise<void> {
  const { client, gate } = scene;
  const { opcode, data } = await readMessage(client);
  expect([opcode, data.readUInt16BE()]).toEqual([CLOSE, code]);
  expect(data.toString('utf8', 2)).toMatch(reason);
  await client.end();
  expect(await gate.audit(1)).toHaveLength(1);
}

describe('what an upstream sends', () => {
  test.each([
    ['text', TEXT],
    ['binary', BINARY],
  ])('is scrubbed in a %s message, fragmented at every byte', async (_, opcode) => {
    const { client, server, secret, stub, gate } = await chat();
    const body = Buffer.from(`<${secret}>`);
    for (let at = 0; at <= body.length; at++) {
      const pieces = [body.subarray(0, at), body.subarray(at)];
      for (const piece of fragments(opcode, pieces)) await server.send(piece);
      const told = await readMessage(client);
      expect([told.opcode, told.data.toString()], `cut at ${at}`).toEqual([opcode, `<${stub}>`]);
    }
    await server.send(
      Buffer.concat(
        fragments(
          opcode,
          Array.from(body, byte => Buffer.from([byte])),
        ),
      ),
    );
    expect((await readMessage(client)).data.toString()).toBe(`<${stub}>`);
    expectClean(client.received, secret);
    client.cut();
    expect((await gate.audit(1))[0]).toMatchObject({ status: 101, scrubbed: body.length + 2 });
  });

  test('is scrubbed in every spelling', async () => {
    const { client, server, secret } = await chat();
    const bytes = Buffer.from(secret);
    const spelled = [
      bytes.toString('base64'),
      bytes.toString('hex'),
      encodeURIComponent(`x ${secret}`),
      secret
        .split('')
        .map(char => `\\u00${char.charCodeAt(0).toString(16)}`)
        .join(''),
    ];
    for (const text of spelled) await server.send(frame(TEXT, text));
    for (const text of spelled) expect((await readMessage(client)).data.toString()).not.toBe(text);
    expectClean(client.received, secret);
    client.cut();
  });

  test('goes on as soon as it cannot be the start of a secret, and at the end of its message', async () => {
    const { client, server, secret, stub } = await chat();
    const [first, second, third, last] = fragments(TEXT, [
      'one ',
      `two ${secret.slice(0, 10)}`,
      secret.slice(10),
      '',
    ]);
    await server.send(first as Buffer);
    expect(await readFrame(client)).toMatchObject({ opcode: TEXT, fin: false, payload: Buffer.from('one ') });
    await server.send(second as Buffer);
    expect(await readFrame(client)).toMatchObject({ opcode: 0, fin: false, payload: Buffer.from('two ') });
    await server.send(third as Buffer);
    expect(await readFrame(client)).toMatchObject({ opcode: 0, fin: false, payload: Buffer.from(stub) });
    await server.send(last as Buffer);
    expect(await readFrame(client)).toMatchObject({ opcode: 0, fin: true, payload: Buffer.alloc(0) });
    await server.send(frame(TEXT, secret.slice(0, 10)));
    expect((await readMessage(client)).data.toString()).toBe(secret.slice(0, 10));
    client.cut();
  });

  test('is scrubbed in pings, pongs and the reason of a Close', async () => {
    const { client, server, secret, stub } = await chat();
    await server.send(Buffer.concat([frame(PING, `a ${secret}`), frame(PONG, secret), frame(PING, 'plain')]));
    await server.send(frame(CLOSE, close(4000, secret)));
    const told = [await readMessage(client), await readMessage(client), await readMessage(client)];
    expect(told.map(({ opcode, data }) => [opcode, data.toString()])).toEqual([
      [PING, `a ${stub}`],
      [PONG, stub],
      [PING, 'plain'],
    ]);
    expect((await readMessage(client)).data).toEqual(close(4000, stub));
    expectClean(client.received, secret);
    client.cut();
  });

  test('that is not RFC 6455 ends it, and is not forwarded', async () => {
    const scene = await chat();
    await scene.server.send(
      Buffer.concat([frame(TEXT, 'good'), frame(TEXT, 'x', { rsv: 4 }), frame(TEXT, 'y')]),
    );
    expect((await readMessage(scene.client)).data.toString()).toBe('good');
    await expectEnded(scene, 1011, /^upstream_malformed: A reserved bit/);
    expect((await readMessage(scene.server)).data.readUInt16BE()).toBe(1002);
    expect((await scene.gate.audit(1))[0]).toMatchObject({
      verdict: 'deny',
      reason: 'upstream_malformed',
      status: 101,
    });
  });
});

describe('a real secret in what a client sends', () => {
  const SPELLINGS: Record<string, (secret: string) => string> = {
    plain: secret => `x ${secret} y`,
    'in base64': secret => Buffer.from(secret).toString('base64'),
    'in hex': secret => Buffer.from(secret).toString('hex'),
  };
  const frames: [string, (text: string) => Buffer[]][] = [
    ['a text', text => [frame(TEXT, text, MASKED)]],
    ['a binary message', text => [frame(BINARY, text, MASKED)]],
    ['fragments of one byte', text => fragments(TEXT, text.split(''), true)],
  ];
  const cases = Object.entries(SPELLINGS).flatMap(([how, spell]) =>
    frames.map(([where, write]) => [how, where, (secret: string) => write(spell(secret))] as const),
  );
  test.each([
    ...cases,
    ['plain', 'a ping', (secret: string) => [frame(PING, secret, MASKED)]] as const,
    [
      'plain',
      'the reason of a Close',
      (secret: string) => [frame(CLOSE, close(1000, secret), MASKED)],
    ] as const,
  ])('%s, in %s, ends it', async (_, __, write) => {
    const scene = await chat();
    const { client, server, secret, gate } = scene;
    await client.send(Buffer.concat([...write(secret), frame(TEXT, 'more', MASKED)]));
    await expectEnded(scene, 1008, /^secret_in_request: /);
    const { bytes } = await server.end();
    const behind = bytes.subarray(bytes.indexOf('\r\n\r\n') + 4);
    expectClean(unmasked(behind), secret);
    expect(unmasked(behind).toString()).not.toContain('more');
    expect((await gate.audit(1))[0]).toMatchObject({
      verdict: 'deny',
      reason: 'secret_in_request',
      status: 101,
    });
    expect(gate.logs).toContainEqual(
      expect.objectContaining({
        message: 'alarm',
        fields: expect.objectContaining({ code: 'secret_in_request' }) as unknown,
      }),
    );
  });
});

/** The payloads of all frames. */
function unmasked(bytes: Buffer): Buffer {
  const payloads: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = (bytes[at + 1] as number) & 0x7f;
    const start = at + (length === 126 ? 8 : 6);
    const end = start + (length === 126 ? bytes.readUInt16BE(at + 2) : length);
    const key = bytes.subarray(start - 4, start);
    payloads.push(bytes.subarray(start, end).map((byte, i) => byte ^ (key[i % 4] as number)) as Buffer);
    at = end;
  }
  return Buffer.concat(payloads);
}

describe('a stub in what a client sends', () => {
  test('without a placement in messages is inert, and counted', async () => {
    const { client, server, stub, gate } = await chat();
    const half = stub.length / 2;
    await client.send(frame(TEXT, `{"env":"${stub}"}`, MASKED));
    await client.send(Buffer.concat(fragments(BINARY, [stub.slice(0, half), stub.slice(half)], true)));
    await client.send(frame(PING, stub, MASKED));
    expect((await readMessage(server)).data.toString()).toBe(`{"env":"${stub}"}`);
    expect((await readMessage(server)).data.toString()).toBe(stub);
    expect((await readMessage(server)).data.toString()).toBe(stub);
    client.cut();
    expect((await gate.audit(1))[0]).toMatchObject({ verdict: 'allow', stubs_seen: 4 });
  });

  test('is swapped at its pointer, whatever the frames are', async () => {
    const { client, server, secret, stub, gate } = await chat(JSON_TOKEN);
    const text = `{ "n": 1.0, "auth": {"token":"${stub}"}, "say": "é" }`;
    const bytes = Buffer.from(text);
    for (const at of [1, 12, bytes.length - 4]) {
      const pieces = [bytes.subarray(0, at), bytes.subarray(at)];
      await client.send(Buffer.concat(fragments(TEXT, pieces, true)));
      expect((await readMessage(server)).data.toString()).toBe(text.replace(stub, secret));
    }
    await client.send(frame(TEXT, 'no json, no stub', MASKED));
    expect((await readMessage(server)).data.toString()).toBe('no json, no stub');
    await server.send(frame(TEXT, `you said ${secret}`));
    expect((await readMessage(client)).data.toString()).toBe(`you said ${stub}`);
    client.cut();
    expect((await gate.audit(1))[0]).toMatchObject({
      injected: [{ credential: 'api', placement: 'websocket /auth/token' }],
      scrubbed: 1,
      stubs_seen: 3,
    });
  });

  test.each<[string, (stub: string) => Buffer[]]>([
    ['beside the pointer', stub => [frame(TEXT, `{"auth":{"token":"x"},"t":"${stub}"}`, MASKED)]],
    ['in text that is not JSON', stub => [frame(TEXT, stub, MASKED)]],
    ['in a binary message', stub => [frame(BINARY, `{"auth":{"token":"${stub}"}}`, MASKED)]],
    ['in a binary message, byte by byte', stub => fragments(BINARY, `${stub}.`.split(''), true)],
    ['in a ping', stub => [frame(PING, stub, MASKED)]],
    ['in base64', stub => [frame(TEXT, Buffer.from(stub).toString('base64'), MASKED)]],
  ])('%s, where a rule has a place for it, ends it', async (_, write) => {
    const scene = await chat(JSON_TOKEN);
    const { client, server, stub, gate } = scene;
    await client.send(Buffer.concat(write(stub)));
    await expectEnded(scene, 1008, /^stub_misplaced: /);
    const { bytes } = await server.end();
    expect(unmasked(bytes.subarray(bytes.indexOf('\r\n\r\n') + 4)).toString()).not.toContain(stub);
    expect((await gate.audit(1))[0]).toMatchObject({
      verdict: 'deny',
      reason: 'stub_misplaced',
      status: 101,
    });
    expect(gate.logs).toContainEqual(expect.objectContaining({ message: 'alarm' }));
  });

  test('that only repeats what a client was told ends nothing', async () => {
    const { client, server, secret, stub, gate } = await chat(JSON_TOKEN);
    await server.send(Buffer.concat([frame(PING, secret), frame(CLOSE, close(4000, secret))]));
    expect((await readMessage(client)).data.toString()).toBe(stub);
    await client.send(Buffer.concat([frame(PONG, stub, MASKED), frame(CLOSE, close(4000, stub), MASKED)]));
    expect((await readMessage(server)).data).toEqual(Buffer.alloc(0));
    expect((await readMessage(server)).data).toEqual(close(4000));
    expect((await gate.audit(1))[0]).toMatchObject({ verdict: 'allow', reason: null, stubs_seen: 2 });
  });

  test('another credential at the pointer ends it, without an alarm', async () => {
    const scene = await chat(JSON_TOKEN);
    await scene.client.send(frame(TEXT, '{"auth":{"token":"somebody else’s"}}', MASKED));
    await expectEnded(scene, 1008, /^foreign_credential: /);
    expect((await scene.gate.audit(1))[0]).toMatchObject({ reason: 'foreign_credential' });
    expect(scene.gate.logs.filter(({ message }) => message === 'alarm')).toEqual([]);
  });

  test('a text too long to be read whole ends it', async () => {
    const scene = await chat(JSON_TOKEN);
    await scene.client.send(frame(TEXT, 'a'.repeat(1024 * 1024 + 1), MASKED));
    await expectEnded(scene, 1009, /^body_too_large: /);
  });
});
