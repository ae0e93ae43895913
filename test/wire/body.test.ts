import { describe, expect, test } from 'vitest';
import type { Refusal } from '../../src/errors.ts';
import { CHUNKED, type RawHeaders, type Sink, UNTIL_CLOSE } from '../../src/types.ts';
import { IncomingBody } from '../../src/wire/body.ts';
import { UNREAD_BYTES, WIRE_LIMITS } from '../../src/wire/limits.ts';

class Collector implements Sink {
  onDrain: (() => void) | null = null;
  readonly events: string[] = [];
  text = '';
  takes = true;
  write(chunk: Buffer): boolean {
    this.text += chunk.toString('latin1');
    return this.takes;
  }
  end(trailers: RawHeaders): void {
    this.events.push(`end ${trailers.join()}`);
  }
  abort(cause: Error): void {
    this.events.push(`abort ${cause.message}`);
  }
}

class Tap {
  readonly calls: string[] = [];
  pause(): void {
    this.calls.push('pause');
  }
  resume(): void {
    this.calls.push('resume');
  }
}

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');

function body(length: number): { body: IncomingBody; sink: Collector; tap: Tap } {
  const tap = new Tap();
  return {
    body: new IncomingBody(length, 'malformed_request', WIRE_LIMITS, tap),
    sink: new Collector(),
    tap,
  };
}

function faultOf(pieces: readonly string[]): string {
  const { body: chunked } = body(CHUNKED);
  try {
    for (const piece of pieces) chunked.feed(latin1(piece), 0);
  } catch (thrown) {
    return (thrown as Refusal).message;
  }
  return 'accepted';
}

describe('a chunked body', () => {
  const wire = '5\r\nhello\r\n00A\r\n, \r\n0\r\n\r\nw\r\n4\r\norld\r\n0\r\nX-A: 1\r\nx-b:2 \r\n\r\nNEXT';

  test('is read in the same way wherever it is cut', () => {
    for (let first = 0; first <= wire.length; first++) {
      for (let second = first; second <= wire.length; second += 7) {
        const { body: chunked, sink } = body(CHUNKED);
        chunked.pipe(sink);
        let rest = '';
        for (const piece of [wire.slice(0, first), wire.slice(first, second), wire.slice(second)]) {
          const end = chunked.complete ? 0 : chunked.feed(latin1(piece), 0);
          rest += piece.slice(end);
        }
        expect({ text: sink.text, events: sink.events, rest }).toEqual({
          text: 'hello, \r\n0\r\n\r\nworld',
          events: ['end X-A,1,x-b,2'],
          rest: 'NEXT',
        });
      }
    }
  });

  test('may be empty', () => {
    const { body: chunked, sink } = body(CHUNKED);
    chunked.pipe(sink);
    expect(chunked.feed(latin1('0\r\n\r\n'), 0)).toBe(5);
    expect(sink.events).toEqual(['end ']);
  });

  const size = 'A chunk size that is not 1 to 8 hexadecimal digits and CRLF';
  const end = 'A chunk that does not end with CRLF';
  const line = 'A trailer line that does not end with CRLF';
  const misplaced = 'A trailer that may only stand in the head';
  test.each([
    ['3;a=b\r\nabc\r\n', size],
    ['3;\r\nabc\r\n', size],
    ['3 \r\nabc\r\n', size],
    [' 3\r\nabc\r\n', size],
    ['+3\r\nabc\r\n', size],
    ['-3\r\nabc\r\n', size],
    ['0x3\r\nabc\r\n', size],
    ['\r\nabc\r\n', size],
    ['g\r\n', size],
    ['000000003\r\nabc\r\n', size],
    ['100000000\r\n', size],
    ['fffffffffffffffff\r\n', size],
    ['3\nabc\r\n', size],
    ['3\rabc\r\n', end],
    ['3\r\nabcd\r\n', end],
    ['3\r\nabc\n', end],
    ['3\r\nabc\rx', end],
    ['3\r\nabc0\r\n\r\n', end],
    ['0\r\n\n', line],
    ['0\r\nx: a\n\r\n', line],
    ['0\r\nx: a\rb\r\n\r\n', line],
    ['0\r\n\rx', line],
    ['0\r\nx : a\r\n\r\n', 'White space before the colon of a header'],
    ['0\r\n x: a\r\n\r\n', 'A header line starts with white space (obsolete line folding)'],
    ['0\r\nx: \0\r\n\r\n', 'A header value holds a control character'],
    ['0\r\nnone\r\n\r\n', 'A header line without a colon'],
    ['0\r\nContent-Length: 3\r\n\r\n', misplaced],
    ['0\r\ntransfer-encoding: chunked\r\n\r\n', misplaced],
    ['0\r\nHost: a\r\n\r\n', misplaced],
    ['0\r\nx: a\r\nauthorization: a\r\n\r\n', misplaced],
    [`0\r\nx: ${'a'.repeat(WIRE_LIMITS.head)}\r\n\r\n`, 'The trailers are too large'],
    [`0\r\n${'x: a\r\n'.repeat(WIRE_LIMITS.headers + 1)}\r\n`, 'The request has too many headers'],
  ])('%j is refused: %s', (text, message) => {
    expect(faultOf([text])).toBe(message);
    expect(faultOf(text.split(''))).toBe(message);
  });
});

describe('any body', () => {
  test('with a length ends there', () => {
    const { body: counted, sink } = body(5);
    counted.pipe(sink);
    expect(counted.feed(latin1('hel'), 0)).toBe(3);
    expect(counted.complete).toBe(false);
    expect(counted.feed(latin1('loNEXT'), 0)).toBe(2);
    expect([sink.text, ...sink.events]).toEqual(['hello', 'end ']);
  });

  test('without a length ends with the connection', () => {
    const { body: open, sink } = body(UNTIL_CLOSE);
    open.pipe(sink);
    expect(open.feed(latin1('hello'), 0)).toBe(5);
    expect(sink.events).toEqual([]);
    expect(open.close()).toBe(true);
    expect([sink.text, ...sink.events]).toEqual(['hello', 'end ']);
  });

  test('with a length is not complete when the connection ends', () => {
    const { body: counted, sink } = body(5);
    counted.pipe(sink);
    counted.feed(latin1('hel'), 0);
    expect(counted.close()).toBe(false);
    expect(sink.events).toEqual([]);
  });

  test('waits for its reader, and is delivered before pipe returns', () => {
    const { body: counted, sink } = body(5);
    counted.feed(latin1('he'), 0);
    counted.feed(latin1('llo'), 0);
    counted.pipe(sink);
    expect([sink.text, ...sink.events]).toEqual(['hello', 'end ']);
  });

  test('that broke before it was piped is aborted when it is', () => {
    const { body: counted, sink } = body(5);
    counted.feed(latin1('he'), 0);
    counted.fail(new Error('gone'));
    counted.fail(new Error('twice'));
    counted.pipe(sink);
    expect([sink.text, ...sink.events]).toEqual(['he', 'abort gone']);
  });

  test('stops the socket while nobody reads it, and starts it once somebody does', () => {
    const { body: counted, sink, tap } = body(10 * UNREAD_BYTES);
    counted.feed(Buffer.alloc(UNREAD_BYTES), 0);
    expect(tap.calls).toEqual([]);
    counted.feed(Buffer.alloc(1), 0);
    expect(tap.calls).toEqual(['pause']);
    counted.pipe(sink);
    expect(tap.calls).toEqual(['pause', 'resume']);
  });

  test('stops the socket when its sink is full, until it drains', () => {
    const { body: counted, sink, tap } = body(10);
    counted.pipe(sink);
    sink.takes = false;
    counted.feed(latin1('abc'), 0);
    expect(tap.calls).toEqual(['pause']);
    sink.onDrain?.();
    expect(tap.calls).toEqual(['pause', 'resume']);
  });
});

describe('a body that is here', () => {
  const here = (length: number, ...pieces: readonly string[]) => {
    const { body: whole } = body(length);
    for (const piece of pieces) whole.feed(latin1(piece), 0);
    return whole.take()?.toString('latin1');
  };

  test.each<[string, number, readonly string[], string | undefined]>([
    ['counted', 5, ['hello'], 'hello'],
    ['counted, in two pieces', 5, ['he', 'llo'], 'hello'],
    ['empty', 0, [], ''],
    ['chunked', CHUNKED, ['5\r\nhello\r\n2\r\n w\r\n0\r\n\r\n'], 'hello w'],
    ['chunked, with a trailer', CHUNKED, ['5\r\nhello\r\n0\r\nx: y\r\n\r\n'], undefined],
    ['not yet whole', 5, ['hell'], undefined],
    ['until the connection ends', UNTIL_CLOSE, ['hello'], undefined],
  ])('is taken only whole: %s', (_, length, pieces, expected) => {
    expect(here(length, ...pieces)).toBe(expected);
  });

  test('is not taken once it is broken', () => {
    const { body: broken } = body(5);
    broken.feed(latin1('hell'), 0);
    broken.fail(new Error('cut'));
    expect(broken.take()).toBeUndefined();
  });
});
