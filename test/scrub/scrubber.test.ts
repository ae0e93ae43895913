import { describe, expect, test } from 'vitest';
import { detector, Patterns, Scrubber } from '../../src/scrub/index.ts';
import { Secret } from '../../src/secret.ts';
import { bytewise, Collector, patternsOf, scrubberOf, STUB, streamed, whole } from './stages.ts';
import { base64, percentAll } from './writers.ts';

const TOKEN = 'ghp_16C7e42F292c6912E7710c838347Ae178B4a';
const patterns = patternsOf(TOKEN);

describe('fields', () => {
  test('come back as the same array when nothing is found', () => {
    const raw = ['content-type', 'text/plain', 'etag', '"x"'];
    expect(scrubberOf(patterns).headers(raw)).toBe(raw);
  });

  test('lose a secret in a value, in a name and in an encoding', () => {
    const scrubber = scrubberOf(patterns);
    const raw = [
      'location',
      `/?t=${percentAll(TOKEN)}`,
      TOKEN,
      'x',
      'www-authenticate',
      `Basic ${base64(`u:${TOKEN}`)}`,
      'x',
      '\xe9',
    ];
    const clean = scrubber.headers(raw);
    expect(clean.slice(0, 4)).toEqual(['location', `/?t=${STUB}`, STUB, 'x']);
    expect(Buffer.from(clean[5]?.slice(6) ?? '', 'base64').toString()).toMatch(/^u:ghp_stub/);
    expect(clean.slice(6)).toEqual(['x', '\xe9']);
    expect(scrubber.hits).toBe(3);
  });

  test('are not joined: halves in two fields are not a secret', () => {
    const raw = ['a', TOKEN.slice(0, 20), 'b', TOKEN.slice(20)];
    expect(scrubberOf(patterns).headers(raw)).toBe(raw);
  });
});

test('text is cleaned, or the same', () => {
  expect(scrubberOf(patterns).text(`No ${TOKEN} for \xe9`)).toBe(`No ${STUB} for \xe9`);
  expect(scrubberOf(patterns).text('OK')).toBe('OK');
});

test('a whole body without a secret is the same buffer', () => {
  const body = Buffer.from('{"a":"\\"\\u0041%41&amp;"}');
  expect(scrubberOf(patterns).whole(body)).toBe(body);
});

test('a secret without a stub is marked as removed', () => {
  const scrubber = new Scrubber(patterns, () => '');
  expect(scrubber.whole(Buffer.from(`a ${TOKEN}`)).toString()).toBe('a [removed]');
  expect(scrubber.whole(Buffer.from(base64(TOKEN))).toString()).toMatch(
    new RegExp(`^${base64('[removed]').slice(0, 12)}`),
  );
});

test('a large body is searched to its end, across its stretches', () => {
  const filler = Buffer.alloc(64 * 1024 - 20, 'x');
  const body = Buffer.concat([
    filler,
    Buffer.from(TOKEN),
    filler,
    filler,
    Buffer.from(percentAll(TOKEN)),
    filler,
  ]);
  expect(whole(patterns, body).hits).toBe(2);
  expect(patterns.find(body.subarray(100_000))?.at).toBe(3 * filler.length + TOKEN.length - 100_000);
});

describe('a streamed body', () => {
  const stream = (): { stage: ReturnType<Scrubber['body']>; out: Collector } => {
    const out = new Collector();
    return { stage: scrubberOf(patterns).body(out), out };
  };

  test.each([
    ['an event', 'data: {"text":"hello ghp"}\n\n'],
    ['an event that ends in an escape', 'data: "a\\n"\n\n'],
    ['a JSON line', '{"a":1}\n'],
  ])('%s goes out at once', (_, event) => {
    const { stage, out } = stream();
    stage.write(Buffer.from(event));
    expect(out.bytes.toString()).toBe(event);
  });

  test.each([
    ['a prefix', `abc ${TOKEN.slice(0, 10)}`, 'abc '],
    ['an escaped prefix', 'abc gh%70_1', 'abc '],
    ['an unfinished escape', 'abc \\u00', 'abc '],
    ['a prefix in base64', `abc ${base64(TOKEN).slice(0, 9)}`, 'abc '],
    ['a prefix in hex', `abc ${Buffer.from(TOKEN).toString('hex').slice(0, 9)}`, 'abc '],
  ])('%s, and nothing else, waits for more', (_, chunk, goneOut) => {
    const { stage, out } = stream();
    stage.write(Buffer.from(chunk));
    expect(out.bytes.toString()).toBe(goneOut);
    stage.end([]);
    expect(out.bytes.toString()).toBe(chunk);
  });

  test('what turns out to be no secret goes out as soon as that is clear', () => {
    const { stage, out } = stream();
    stage.write(Buffer.from(TOKEN.slice(0, 30)));
    stage.write(Buffer.from('!'));
    expect(out.bytes.toString()).toBe(`${TOKEN.slice(0, 30)}!`);
  });

  test('does not hold more than a secret can take, however long a run of escapes is', () => {
    for (const run of ['%', '%25', '\\', '\\\\u005c', '&amp;', '&#38;', '\\u']) {
      const { stage, out } = stream();
      const body = Buffer.alloc(100_000, run);
      for (let at = 0; at < body.length; at += 1000) stage.write(body.subarray(at, at + 1000));
      expect(out.bytes.length, run).toBeGreaterThan(body.length - 1000);
      stage.end([]);
      expect(out.bytes.equals(body), run).toBe(true);
    }
  });

  test('passes on back-pressure, drain, trailers and an abort', () => {
    const { stage, out } = stream();
    out.accepts = false;
    let drained = 0;
    stage.onDrain = () => drained++;
    expect(stage.write(Buffer.from('hello '))).toBe(false);
    out.onDrain?.();
    expect(drained).toBe(1);
    stage.end(['x-check', '1']);
    expect(out.ended).toEqual(['x-check', '1']);
    const broken = stream();
    broken.stage.write(Buffer.from('hello ghp_16C7'));
    broken.stage.abort(new Error('cut'));
    expect(broken.out.aborted?.message).toBe('cut');
    expect(broken.out.bytes.toString()).toBe('hello ');
  });

  test('is not touched when there are no secrets', () => {
    const out = new Collector();
    expect(scrubberOf(patternsOf()).body(out)).toBe(out);
  });
});

test.each([
  [
    'random text',
    (n: number) =>
      Buffer.from(Array.from({ length: n }, (_, i) => String.fromCharCode(33 + ((i * 7919) % 90))).join('')),
  ],
  ['all %', (n: number) => Buffer.alloc(n, '%')],
  ['%25 repeated', (n: number) => Buffer.alloc(n, '%25')],
  ['all backslashes', (n: number) => Buffer.alloc(n, '\\')],
  ['entities', (n: number) => Buffer.alloc(n, '&amp;')],
  ['starts of secrets', (n: number) => Buffer.alloc(n, TOKEN.slice(0, 30))],
  ['starts of secrets in escapes', (n: number) => Buffer.alloc(n, percentAll(TOKEN.slice(0, 30)))],
  ['secrets', (n: number) => Buffer.alloc(n, TOKEN)],
  ['secrets in escapes', (n: number) => Buffer.alloc(n, percentAll(percentAll(TOKEN)))],
])('the cost is linear: %s', (_, make) => {
  const cpu = (): number => process.threadCpuUsage().user;
  const cost = (body: Buffer): number => {
    const start = cpu();
    for (let n = 0; n < 2 ** 22; n += body.length) streamed(patterns, [body]);
    return cpu() - start;
  };
  const [small, large] = [make(2 ** 14), make(2 ** 20)];
  cost(small);
  expect(cost(large)).toBeLessThan(4 * cost(small) + 200_000);
});

describe('a request body', () => {
  const inspect = (chunks: readonly Buffer[]): { out: Collector; hits: string[] } => {
    const out = new Collector();
    const hits: string[] = [];
    const stage = detector(patterns, out, name => hits.push(name));
    for (const chunk of chunks) stage.write(chunk);
    stage.end(['t', '1']);
    return { out, hits };
  };

  test('passes unchanged when it holds no secret', () => {
    const body = Buffer.from(`{"a":"%25 \\u0041 ${TOKEN.slice(0, 39)}"}`);
    const { out, hits } = inspect(bytewise(body));
    expect(out.bytes.equals(body)).toBe(true);
    expect(out.ended).toEqual(['t', '1']);
    expect(hits).toEqual([]);
  });

  test.each([
    ['raw', TOKEN],
    ['percent', percentAll(TOKEN)],
    ['base64', base64(TOKEN)],
  ])('with a secret in %s is stopped before the secret is out, cut at every offset', (_, written) => {
    const body = Buffer.from(`start ${written} end`);
    for (let cut = 0; cut <= body.length; cut++) {
      const { out, hits } = inspect([body.subarray(0, cut), body.subarray(cut)]);
      expect(hits).toEqual(['s0']);
      expect(out.ended).toBeNull();
      expect('start '.startsWith(out.bytes.toString())).toBe(true);
    }
  });

  test('tells of a secret once, and forwards nothing after it', () => {
    const { out, hits } = inspect([Buffer.from(`${TOKEN} `), Buffer.from('more '), Buffer.from(TOKEN)]);
    expect(hits).toEqual(['s0']);
    expect(out.bytes.length).toBe(0);
  });
});

test('any way of cutting gives the same, with two secrets side by side', () => {
  const body = Buffer.from(`${TOKEN}${TOKEN}\\u0067${TOKEN.slice(1)}`);
  const expected = whole(patterns, body);
  expect(expected).toEqual({ text: STUB.repeat(3), hits: 3 });
  for (let a = 0; a <= body.length; a += 3) {
    for (let b = a; b <= body.length; b += 5) {
      expect(streamed(patterns, [body.subarray(0, a), body.subarray(a, b), body.subarray(b)])).toEqual(
        expected,
      );
    }
  }
});

test('what was sent encoded comes back as it would without being looked for a second time', () => {
  const secret = new Secret('s0', 'ghp_16C7e42F292c6912E7710c838347Ae178B4a');
  const wires = [0, 1, 2].map(shift =>
    secret.as(
      Buffer.from('.'.repeat(shift) + secret.reveal())
        .toString('base64')
        .slice(Math.ceil((8 * shift) / 6), -4),
    ),
  );
  const echo = Buffer.from(`Basic ${Buffer.from(`u:${secret.reveal()}`).toString('base64')}`);
  const [once, twice] = [new Patterns([secret]), new Patterns([secret], wires)].map(patterns =>
    scrubberOf(patterns).whole(echo).toString(),
  );
  expect(twice).toBe(once);
});
