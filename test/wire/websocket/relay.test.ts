import { describe, expect, test } from 'vitest';
import { Refusal } from '../../../src/errors.ts';
import type { Sink } from '../../../src/types.ts';
import { WIRE_LIMITS } from '../../../src/wire/limits.ts';
import { type Filter, type Origin, Relay } from '../../../src/wire/websocket/relay.ts';
import { BINARY, CLOSE, close, frame, type FrameChoice, PING, PONG, TEXT } from '../../support/websocket.ts';
import { FakeSocket } from '../fake-socket.ts';
import { readFrames } from './readings.ts';

const NOTHING: Buffer = Buffer.alloc(0);
const MASKED: FrameChoice = { mask: Buffer.from('01020304', 'hex') };
const MORE: FrameChoice = { fin: false };
const CLOSE_MS = 5000;
const PASS: Filter = { message: (_, next) => next, control: (_, payload) => payload };

/** Time runs only where a test says so. */
const later = (ms: number): number => performance.now() + ms;

interface Scene {
  readonly relay: Relay;
  readonly client: FakeSocket;
  readonly upstream: FakeSocket;
  /** What each side received so far. */
  toClient(): readonly string[];
  toUpstream(): readonly string[];
  /** The client's connection is over, as the gate sees it. */
  isDone(): boolean;
}

function open(
  up: Partial<Filter> = {},
  down: Partial<Filter> = {},
  early = { client: NOTHING, upstream: NOTHING },
): Scene {
  const client = new FakeSocket();
  const upstream = new FakeSocket();
  client.pause();
  upstream.pause();
  const relay = new Relay(client.asSocket, upstream.asSocket, { ...PASS, ...up }, { ...PASS, ...down });
  let done = false;
  relay.start(early.client, early.upstream, () => (done = true));
  return {
    relay,
    client,
    upstream,
    toClient: () => readFrames('server', [Buffer.concat(client.writes)]).events,
    toUpstream: () => readFrames('client', [Buffer.concat(upstream.writes)]).events,
    isDone: () => done,
  };
}

const shut = (code: number, reason = ''): string => `close ${close(code, reason).toString('latin1')}`;

describe('messages', () => {
  test('go both ways, masked to the upstream, bare to the client', () => {
    const scene = open();
    scene.client.receive(frame(TEXT, 'up', MASKED));
    scene.upstream.receive(frame(BINARY, 'down'));
    expect([scene.toUpstream(), scene.toClient()]).toEqual([['text up'], ['binary down']]);
    expect(Buffer.concat(scene.client.writes)).toEqual(frame(BINARY, 'down'));
  });

  test('leave under another key than they came with', () => {
    const scene = open();
    for (let i = 0; i < 20; i++) scene.client.receive(frame(TEXT, 'up', MASKED));
    const keys = scene.upstream.writes.map(bytes => bytes.toString('hex', 2, 6));
    expect(new Set(keys).size).toBe(20);
    expect(keys).not.toContain('01020304');
  });

  test('that came too early go first', () => {
    const early = { client: frame(TEXT, 'first', MASKED), upstream: frame(TEXT, 'hello') };
    const scene = open({}, {}, early);
    scene.client.receive(frame(TEXT, 'second', MASKED));
    expect([scene.toUpstream(), scene.toClient()]).toEqual([['text first', 'text second'], ['text hello']]);
  });

  test('go on in pieces as they come, and in one frame where they are here whole', () => {
    const scene = open();
    const bytes = frame(BINARY, 'abcdef');
    scene.upstream.receive(bytes.subarray(0, 5));
    expect(Buffer.concat(scene.client.writes)).toEqual(frame(BINARY, 'abc', MORE));
    scene.upstream.receive(Buffer.concat([bytes.subarray(5), frame(TEXT, 'next')]));
    expect(scene.client.writes.slice(1)).toEqual([frame(0, 'def'), frame(TEXT, 'next')]);
  });

  test('pass the control frames amid them', () => {
    const scene = open();
    scene.client.receive(frame(TEXT, 'a', { ...MASKED, ...MORE }));
    scene.client.receive(frame(PING, 'p', MASKED));
    scene.upstream.receive(frame(PONG, 'p'));
    scene.client.receive(frame(0, 'b', MASKED));
    expect([scene.toUpstream(), scene.toClient()]).toEqual([['ping p', 'text ab'], ['pong p']]);
  });

  test('are the same whatever the pieces are', () => {
    const frames = [
      frame(TEXT, 'he', { ...MASKED, ...MORE }),
      frame(PING, 'x', MASKED),
      frame(0, '', { ...MASKED, ...MORE }),
      frame(0, 'llo', MASKED),
      frame(BINARY, '', MASKED),
      frame(CLOSE, close(1000, 'bye'), MASKED),
    ];
    const input = Buffer.concat(frames);
    const expected = ['ping x', 'text hello', 'binary ', shut(1000, 'bye')];
    for (let at = 0; at < input.length; at++) {
      const scene = open();
      scene.client.receive(input.subarray(0, at));
      scene.client.receive(input.subarray(at));
      expect(scene.toUpstream()).toEqual(expected);
    }
    const bytewise = open();
    for (const byte of input) bytewise.client.receive(Buffer.from([byte]));
    expect(bytewise.toUpstream()).toEqual(expected);
  });

  test('are counted in wire bytes of the client’s side', () => {
    const scene = open({}, {}, { client: frame(TEXT, 'early', MASKED), upstream: NOTHING });
    scene.client.receive(frame(TEXT, 'up', MASKED));
    scene.upstream.receive(frame(BINARY, 'down'));
    expect([scene.relay.bytesIn, scene.relay.bytesOut]).toEqual([11 + 8, 6]);
  });
});

describe('a peer that does not read', () => {
  test('stops the other one, amid a chunk, until it reads again', () => {
    const scene = open();
    scene.client.takes = false;
    scene.upstream.receive(Buffer.concat([frame(TEXT, 'a'), frame(TEXT, 'b'), frame(PING, 'c')]));
    scene.upstream.receive(frame(TEXT, 'd'));
    expect(scene.toClient()).toEqual(['text a']);
    expect(scene.upstream.isPaused()).toBe(true);
    scene.client.drain();
    scene.upstream.pump();
    expect(scene.toClient()).toEqual(['text a', 'text b', 'ping c', 'text d']);
  });

  test('stops pings, too', () => {
    const scene = open();
    scene.upstream.takes = false;
    for (let i = 0; i < 5; i++) scene.client.receive(frame(PING, String(i), MASKED));
    expect([scene.toUpstream(), scene.client.isPaused()]).toEqual([['ping 0'], true]);
    scene.upstream.drain();
    scene.client.pump();
    expect(scene.toUpstream()).toHaveLength(5);
  });

  test('gets what was sent before the end of the other one', () => {
    const scene = open();
    scene.client.takes = false;
    scene.upstream.receive(Buffer.concat([frame(TEXT, 'a'), frame(PING, 'b'), frame(TEXT, 'c')]));
    scene.upstream.emit('end');
    scene.upstream.emit('close');
    expect(scene.client.ended).toBe(false);
    scene.client.drain();
    expect([scene.toClient(), scene.client.ended]).toEqual([['text a', 'ping b', 'text c'], true]);
    scene.client.destroy();
    expect(scene.isDone()).toBe(true);
  });
});

describe('a stage', () => {
  test('may hold its origin until it can go on', () => {
    let origin: Origin | undefined;
    let sink: Sink | undefined;
    const message = (_: number, next: Sink, from: Origin): Sink => ({
      onDrain: null,
      write: () => true,
      end: () => {
        [origin, sink] = [from, next];
        from.pause();
      },
      abort: () => {},
    });
    const scene = open({ message });
    scene.client.receive(Buffer.concat([frame(TEXT, 'a', MASKED), frame(PING, 'p', MASKED)]));
    expect([scene.toUpstream(), scene.client.isPaused()]).toEqual([[], true]);
    sink?.write(Buffer.from('changed'));
    sink?.end([]);
    origin?.resume();
    expect([scene.toUpstream(), scene.client.isPaused()]).toEqual([['text changed', 'ping p'], false]);
    scene.client.receive(frame(TEXT, 'b', MASKED));
    origin?.fail(new Refusal('credential_unavailable'));
    expect(scene.toClient()).toEqual([
      shut(1011, 'credential_unavailable: The credential cannot be fetched'),
    ]);
  });

  test('that refuses ends both sides: the client is told why, the upstream is not', () => {
    const scene = open({
      control: () => {
        throw new Refusal('secret_in_request');
      },
    });
    scene.client.receive(frame(TEXT, 'begun', { ...MASKED, ...MORE }));
    scene.client.receive(Buffer.concat([frame(PING, 'p', MASKED), frame(0, 'end', MASKED)]));
    scene.client.receive(frame(TEXT, 'more', MASKED));
    expect(scene.toClient()).toEqual([shut(1008, 'secret_in_request: The request holds a real credential')]);
    expect(scene.toUpstream()).toEqual([shut(1001)]);
    expect([scene.client.ended, scene.upstream.ended]).toEqual([true, true]);
    expect(scene.relay.failure).toMatchObject({ code: 'secret_in_request' });
    expect(scene.isDone()).toBe(false);
    scene.client.destroy();
    expect(scene.isDone()).toBe(true);
  });

  test('that breaks tells nobody how', () => {
    const scene = open(
      {},
      {
        control: () => {
          throw new TypeError('inner workings');
        },
      },
    );
    scene.upstream.receive(frame(PING));
    expect(scene.toClient()).toEqual([shut(1011, 'internal_error: The gate failed')]);
    expect(scene.toUpstream()).toEqual([shut(1001)]);
    expect(scene.relay.failure).toMatchObject({
      code: 'internal_error',
      cause: new TypeError('inner workings'),
    });
  });

  test('may make a control frame longer than one can be: it is cut between characters', () => {
    const scene = open(
      {},
      { control: (_, payload) => Buffer.concat([payload, Buffer.from('é'.repeat(70))]) },
    );
    scene.upstream.receive(
      Buffer.concat([frame(PING, ''), frame(PING, 'a'), frame(CLOSE, close(1000, 'a'))]),
    );
    const latin1 = (text: string): string => Buffer.from(text).toString('latin1');
    expect(scene.toClient()).toEqual([
      latin1(`ping ${'é'.repeat(62)}`),
      latin1(`ping a${'é'.repeat(62)}`),
      shut(1000, `a${'é'.repeat(61)}`),
    ]);
  });
});

describe('a Close', () => {
  test.each(['client', 'upstream'] as const)('from the %s goes through, and comes back', side => {
    const scene = open();
    const [from, to] = side === 'client' ? [scene.client, scene.upstream] : [scene.upstream, scene.client];
    const [mine, its] = side === 'client' ? [MASKED, {}] : [{}, MASKED];
    from.receive(frame(CLOSE, close(4000, 'done'), mine));
    to.receive(frame(TEXT, 'last', its));
    expect([from.ended, to.ended]).toEqual([false, false]);
    to.receive(frame(CLOSE, close(4000), its));
    expect(side === 'client' ? scene.toUpstream() : scene.toClient()).toEqual([shut(4000, 'done')]);
    expect(side === 'client' ? scene.toClient() : scene.toUpstream()).toEqual(['text last', shut(4000)]);
    expect([from.ended, to.ended]).toEqual([true, true]);
    from.destroy();
    to.destroy();
    expect(scene.isDone()).toBe(true);
    expect(scene.relay.failure).toBeNull();
  });

  test('without a code passes as it is', () => {
    const scene = open();
    scene.upstream.receive(frame(CLOSE));
    expect(scene.toClient()).toEqual(['close ']);
  });

  test('that is not answered is waited for, but not for long', () => {
    const scene = open();
    scene.upstream.receive(frame(CLOSE, close(1000)));
    scene.relay.sweep(later(0), WIRE_LIMITS);
    scene.relay.sweep(later(CLOSE_MS - 1000), WIRE_LIMITS);
    expect(scene.client.destroyed).toBe(false);
    scene.client.receive(frame(TEXT, 'still here', MASKED));
    scene.relay.sweep(later(CLOSE_MS + 1000), WIRE_LIMITS);
    expect([scene.client.destroyed, scene.upstream.destroyed, scene.isDone()]).toEqual([true, true, true]);
  });

  test('behind much that is still being read is waited for longer', () => {
    const scene = open();
    scene.client.takes = false;
    scene.upstream.receive(frame(BINARY, Buffer.alloc(1000)));
    scene.client.drain();
    scene.client.takes = false;
    scene.upstream.receive(frame(CLOSE, close(1000)));
    scene.client.writableLength = 900;
    for (let ms = 0; ms < 20_000; ms += 4000) {
      scene.relay.sweep(later(ms), WIRE_LIMITS);
      scene.client.writableLength -= 100;
    }
    expect(scene.client.destroyed).toBe(false);
    scene.relay.sweep(later(40_000), WIRE_LIMITS);
    scene.relay.sweep(later(46_000), WIRE_LIMITS);
    expect(scene.client.destroyed).toBe(true);
  });
});

describe('the end of one connection', () => {
  test.each(['client', 'upstream'] as const)(
    'of the %s without a Close is one without a Close for the other',
    side => {
      const scene = open();
      const [gone, left] =
        side === 'client' ? [scene.client, scene.upstream] : [scene.upstream, scene.client];
      gone.destroy();
      expect([left.ended, left.writes]).toEqual([true, []]);
      expect(scene.isDone()).toBe(side === 'client');
      left.destroy();
      expect(scene.isDone()).toBe(true);
    },
  );

  test('of the client while it is still sending to a slow upstream', () => {
    const scene = open();
    scene.upstream.takes = false;
    scene.client.receive(
      Buffer.concat([frame(TEXT, 'a', MASKED), frame(PING, 'b', MASKED), frame(PING, 'c', MASKED)]),
    );
    scene.client.destroy();
    expect(scene.upstream.ended).toBe(true);
    scene.upstream.destroy();
    expect(scene.isDone()).toBe(true);
  });

  test('destroy ends both at once', () => {
    const scene = open();
    scene.upstream.takes = false;
    scene.client.receive(Buffer.concat([frame(PING, 'a', MASKED), frame(PING, 'b', MASKED)]));
    scene.relay.destroy();
    expect([scene.client.destroyed, scene.upstream.destroyed, scene.isDone()]).toEqual([true, true, true]);
  });
});

describe('who breaks the rules', () => {
  test('a client is told its fault, the upstream that it goes', () => {
    const scene = open();
    scene.client.receive(frame(TEXT, 'not masked'));
    expect(scene.toClient()).toEqual([shut(1002, 'malformed_request: A frame without a mask')]);
    expect(scene.toUpstream()).toEqual([shut(1001)]);
    expect(scene.relay.failure).toMatchObject({ code: 'malformed_request' });
  });

  test('a client that sends too much is told so', () => {
    const scene = open();
    scene.client.receive(frame(BINARY, '', { ...MASKED, length: 2 ** 40 }));
    expect(scene.toClient()[0]).toMatch(/^close \x03\xf1body_too_large: /);
    expect(scene.relay.failure).toMatchObject({ code: 'body_too_large' });
  });

  test('an upstream is told its fault, the client whose it is', () => {
    const scene = open();
    scene.upstream.receive(frame(TEXT, Buffer.from([0xff])));
    expect(scene.toUpstream()).toEqual([shut(1007)]);
    expect(scene.toClient()).toEqual([shut(1011, 'upstream_malformed: A text that is not UTF-8')]);
    expect(scene.relay.failure).toMatchObject({ code: 'upstream_malformed' });
  });

  test('nothing behind the fault is forwarded, nor anything more sent', () => {
    const scene = open();
    scene.upstream.receive(Buffer.concat([frame(TEXT, 'good'), frame(3, ''), frame(TEXT, 'bad')]));
    scene.upstream.receive(frame(TEXT, 'bad'));
    scene.client.receive(frame(TEXT, 'bad', MASKED));
    expect(scene.toClient()[0]).toBe('text good');
    expect(scene.toClient()).toHaveLength(2);
    expect(scene.toUpstream()).toEqual([shut(1002)]);
  });

  test('who goes on sending does not keep the connection', () => {
    const scene = open();
    scene.client.receive(frame(3, '', MASKED));
    for (let ms = 0; ms <= CLOSE_MS + 2000; ms += 1000) {
      scene.client.receive(frame(TEXT, 'and on', MASKED));
      scene.relay.sweep(later(ms), WIRE_LIMITS);
    }
    expect([scene.client.destroyed, scene.isDone()]).toEqual([true, true]);
  });
});

describe('time', () => {
  test('without a byte either way ends it in good order', () => {
    const scene = open();
    scene.relay.sweep(later(0), WIRE_LIMITS);
    scene.relay.sweep(later(WIRE_LIMITS.idleMs - 1000), WIRE_LIMITS);
    expect(scene.toClient()).toEqual([]);
    scene.relay.sweep(later(WIRE_LIMITS.idleMs + 1000), WIRE_LIMITS);
    expect([scene.toClient(), scene.toUpstream()]).toEqual([[shut(1001, 'idle')], [shut(1001, 'idle')]]);
  });

  test('a ping keeps it open', () => {
    const scene = open();
    for (let i = 0; i < 10; i++) {
      scene.relay.sweep(later(i * 50_000), WIRE_LIMITS);
      scene.upstream.receive(frame(PING));
    }
    expect(scene.toClient()).not.toContain(shut(1001, 'idle'));
  });

  test('in which a peer takes nothing cuts it', () => {
    const scene = open();
    scene.client.takes = false;
    scene.upstream.receive(frame(TEXT, 'a'));
    scene.relay.sweep(later(0), WIRE_LIMITS);
    scene.relay.sweep(later(WIRE_LIMITS.bodyIdleMs + 1000), WIRE_LIMITS);
    expect([scene.client.destroyed, scene.upstream.destroyed]).toEqual([true, true]);
  });

  test('drain says 1001 to both, and waits for their answers', () => {
    const scene = open();
    scene.relay.drain();
    const gone = shut(1001, 'the gate is shutting down');
    expect([scene.toClient(), scene.toUpstream()]).toEqual([[gone], [gone]]);
    scene.upstream.receive(frame(TEXT, 'too late'));
    scene.upstream.receive(frame(CLOSE, close(1001)));
    expect([scene.client.ended, scene.upstream.ended]).toEqual([false, true]);
    scene.upstream.destroy();
    scene.client.receive(frame(CLOSE, close(1001), MASKED));
    expect(scene.client.ended).toBe(true);
    scene.client.destroy();
    expect([scene.toClient(), scene.isDone()]).toEqual([[gone], true]);
    expect(Buffer.concat(scene.client.writes).includes('too late')).toBe(false);
  });
});
