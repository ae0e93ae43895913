import { describe, expect, test } from 'vitest';
import { Refusal } from '../../src/errors.ts';
import { Down } from '../../src/flow/websocket/down.ts';
import { Up } from '../../src/flow/websocket/up.ts';
import type { Job } from '../../src/flow/judge.ts';
import type { Rooms } from '../../src/flow/rooms.ts';
import { placements } from '../../src/inject/index.ts';
import { parseShape } from '../../src/inject/shape.ts';
import { Patterns } from '../../src/scrub/index.ts';
import { Secret } from '../../src/secret.ts';
import type { Sink } from '../../src/types.ts';
import { BINARY, PING, TEXT } from '../../src/wire/websocket/protocol.ts';
import type { Origin } from '../../src/wire/websocket/relay.ts';
import { injection, keyOf, ruleOf, sessionOf } from '../inject/make.ts';

const key = keyOf('this gate');
const stub = key.mint(parseShape('generic'));
const session = sessionOf({ github: stub });
const token = placements.build('websocket', { pointer: '/token' });

/** Rooms and a job of which only what a WebSocket asks for is there. */
function parts(secret: string, open: () => Promise<unknown> | undefined = () => undefined) {
  let current = new Secret('github', secret, '1');
  let patterns = new Patterns([current]);
  const event: { injected: unknown[] } = { injected: [] };
  const keyring = { patterns: () => patterns, open, secret: () => current };
  const rotate = (next: string): void => {
    current = new Secret('github', next, '2');
    patterns = new Patterns([current]);
  };
  const rule = ruleOf([injection(token)]);
  return {
    rooms: { keyring, stubs: key } as unknown as Rooms,
    job: { rule, session, profile: {}, entry: { event } } as unknown as Job,
    event,
    rotate,
  };
}

function collector(): Sink & { text: string; ended: boolean } {
  return {
    text: '',
    ended: false,
    onDrain: null,
    write(chunk) {
      this.text += chunk.toString();
      return true;
    },
    end() {
      this.ended = true;
    },
    abort: () => {},
  };
}

function origin(): Origin & { log: unknown[] } {
  const log: unknown[] = [];
  return {
    log,
    pause: () => log.push('pause'),
    resume: () => log.push('resume'),
    fail: error => log.push(error),
  };
}

const MESSAGE = `{"token":"${stub}"}`;

describe('a message whose credential must be fetched', () => {
  test('holds its client until the credential is here', async () => {
    const vault = Promise.withResolvers<void>();
    const { rooms, job, event } = parts('the-first-secret', () => vault.promise);
    const [from, to] = [origin(), collector()];
    const sink = new Up(rooms, job).message(TEXT, to, from);
    sink.write(Buffer.from(MESSAGE));
    sink.end([]);
    expect([to.text, from.log]).toEqual(['', ['pause']]);
    vault.resolve();
    await vault.promise;
    await new Promise(resolve => setImmediate(resolve));
    expect([to.text, to.ended, from.log]).toEqual([
      '{"token":"the-first-secret"}',
      true,
      ['pause', 'resume'],
    ]);
    expect(event.injected).toEqual([{ credential: 'github', placement: 'websocket /token', version: '1' }]);
  });

  test('ends the WebSocket if it cannot be had', async () => {
    const refusal = new Refusal('credential_unavailable');
    const { rooms, job } = parts('the-first-secret', () => Promise.reject(refusal));
    const [from, to] = [origin(), collector()];
    const sink = new Up(rooms, job).message(TEXT, to, from);
    sink.write(Buffer.from(MESSAGE));
    sink.end([]);
    await new Promise(resolve => setImmediate(resolve));
    expect([to.text, from.log]).toEqual(['', ['pause', refusal]]);
  });
});

describe('a secret that is rotated while a WebSocket is open', () => {
  test('is looked for in the next message of the upstream', () => {
    const { rooms, job, rotate } = parts('the-first-secret');
    const down = new Down(rooms, job);
    const say = (text: string): string => {
      const to = collector();
      const sink = down.message(TEXT, to);
      sink.write(Buffer.from(text));
      sink.end([]);
      return to.text;
    };
    expect(say('the-first-secret')).toBe(stub);
    rotate('the-second-secret');
    expect(say('the-second-secret')).toBe(stub);
    expect(down.control(PING, Buffer.from('the-second-secret')).toString()).toBe(stub);
    expect(down.hits).toBe(3);
  });

  test('is put into the next message of the client, looked for there, and noted once', () => {
    const { rooms, job, rotate, event } = parts('the-first-secret');
    const up = new Up(rooms, job);
    const say = (text: string): string => {
      const to = collector();
      const sink = up.message(TEXT, to, origin());
      sink.write(Buffer.from(text));
      sink.end([]);
      return to.text;
    };
    say(MESSAGE);
    say(MESSAGE);
    rotate('the-second-secret');
    expect(say(MESSAGE)).toBe('{"token":"the-second-secret"}');
    expect(event.injected).toMatchObject([{ version: '1' }, { version: '2' }]);
    expect(() => say('the-second-secret')).toThrow(expect.objectContaining({ code: 'secret_in_request' }));
    expect(up.seen).toBe(3);
  });
});

describe('a text in which a removal breaks a character', () => {
  // The secret in latin1 ends with the first of the three bytes of U+9FFF.
  const { rooms, job } = parts('geheimnisé');
  const text = Buffer.from('geheimnis\u9fff!');

  test.each([1, 9, 10, 11, text.length])('does not go on, written %d bytes at a time', size => {
    const sink = new Down(rooms, job).message(TEXT, collector());
    const write = (): void => {
      for (let at = 0; at < text.length; at += size) sink.write(text.subarray(at, at + size));
      sink.end([]);
    };
    expect(write).toThrow(expect.objectContaining({ code: 'undecodable_response' }));
  });

  test('may go on as a binary message', () => {
    const to = collector();
    const sink = new Down(rooms, job).message(BINARY, to);
    sink.write(text);
    sink.end([]);
    expect([to.text.startsWith(stub), to.ended]).toEqual([true, true]);
  });
});
