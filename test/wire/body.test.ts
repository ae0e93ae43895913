import { describe, expect, test } from 'vitest';
import type { Refusal } from '../../src/errors.ts';
import { CHUNKED, type RawHeaders, type Sink, UNTIL_CLOSE } from '../../src/types.ts';
import { IncomingBody } from '../../src/wire/body.ts';
import { RECORD_BYTES, UNREAD_BYTES, WIRE_LIMITS } from '../../src/wire/limits.ts';

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

describe('full records of one turn', () => {
  /** Side by side, as Node reads them; each of another byte. */
  const records = (...sizes: readonly number[]): Buffer[] => {
    const slab = Buffer.allocUnsafeSlow(sizes.reduce((sum, size) => sum + size, 0));
    let at = 0;
    return sizes.map((size, i) => slab.subarray(at, (at += size)).fill(i + 1));
  };
  const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));

  class Pieces extends Collector {
    readonly pieces: Buffer[] = [];
    override write(chunk: Buffer): boolean {
      this.pieces.push(chunk);
      return super.write(chunk);
    }
    get sizes(): number[] {
      return this.pieces.map(piece => piece.length);
    }
  }

  const piped = (...pieces: readonly Buffer[]) => {
    const { body: counted, tap } = body(1e6);
    const sink = new Pieces();
    counted.pipe(sink);
    for (const piece of pieces) counted.feed(piece, 0);
    return { counted, sink, tap };
  };

  const F = RECORD_BYTES;
  test.each<[string, Buffer[], number[], number[]]>([
    ['that stand side by side are one piece', records(F, F, F), [], [3 * F]],
    [
      'that do not are as many as they were',
      [...records(F), ...records(F), ...records(F)],
      [F, F],
      [F, F, F],
    ],
    [
      'that seem to, but in other memory, are not put together',
      [...records(F), ...records(F, F).slice(1)],
      [F],
      [F, F],
    ],
    ['in the wrong order are not put together', records(F, F).toReversed(), [F], [F, F]],
    ['with a gap between them are not put together', records(F, 1, F).filter(r => r.length > 1), [F], [F, F]],
    ['wait for nothing once a shorter one came', records(F, F, 5), [2 * F + 5], [2 * F + 5]],
    ['go before a shorter one that stands elsewhere', [...records(F), ...records(5)], [F, 5], [F, 5]],
    ['behind a shorter one are a new piece', records(5, F, F), [5], [5, 2 * F]],
  ])('%s', async (_, pieces, atOnce, atTheEnd) => {
    const { sink } = piped(...pieces);
    expect(sink.sizes).toEqual(atOnce);
    await turn();
    expect(sink.sizes).toEqual(atTheEnd);
    expect(Buffer.concat(sink.pieces).equals(Buffer.concat(pieces))).toBe(true);
  });

  test('are delivered before the end, and not once more', async () => {
    const { body: counted } = body(2 * F);
    const sink = new Pieces();
    counted.pipe(sink);
    for (const piece of records(F, F)) counted.feed(piece, 0);
    expect([sink.sizes, sink.events]).toEqual([[2 * F], ['end ']]);
    await turn();
    expect([sink.sizes, sink.events]).toEqual([[2 * F], ['end ']]);
  });

  test('are delivered before a body breaks', async () => {
    const { counted, sink } = piped(...records(F, F));
    counted.fail(new Error('gone'));
    expect([sink.sizes, sink.events]).toEqual([[2 * F], ['abort gone']]);
    await turn();
    expect([sink.sizes, sink.events]).toEqual([[2 * F], ['abort gone']]);
  });

  test('break the body, and nothing else, if they cannot be taken', async () => {
    const { counted, sink } = piped(...records(F));
    sink.write = () => {
      throw new Error('a fault of ours');
    };
    await turn();
    expect(sink.events).toEqual([expect.stringMatching(/^abort /)]);
    counted.feed(latin1('more'), 0);
    counted.feed(Buffer.alloc(1e6), 0);
    expect([counted.complete, sink.events.length]).toEqual([true, 1]);
  });

  test('break the body once if they cannot be taken when it breaks', async () => {
    const { counted, sink } = piped(...records(F));
    sink.write = () => {
      throw new Error('a fault of ours');
    };
    counted.fail(new Error('gone'));
    await turn();
    expect(sink.events).toEqual([expect.stringMatching(/^abort /)]);
  });

  test('break the body once if their sink breaks it', async () => {
    const { counted, sink } = piped(...records(F));
    sink.write = () => {
      counted.fail(new Error('the sink is gone'));
      return true;
    };
    counted.fail(new Error('gone'));
    await turn();
    expect(sink.events).toEqual(['abort the sink is gone']);
  });

  test('stop the socket when their sink is full', async () => {
    const { sink, tap } = piped(...records(F, F));
    sink.takes = false;
    expect(tap.calls).toEqual([]);
    await turn();
    expect(tap.calls).toEqual(['pause']);
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
