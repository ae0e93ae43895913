import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { type Coding, codings, decodeBody, decodeWhole } from '../../src/scrub/index.ts';
import { bytewise, Collector, patternsOf, scrubberOf, STUB } from './stages.ts';
import { asciiJson, base64 } from './writers.ts';

const MB = 1024 * 1024;
const TOKEN = 'ghp_16C7e42F292c6912E7710c838347Ae178B4a';
const TEXT = Buffer.from(
  `{"token":"${TOKEN}","basic":"${base64(`u:${TOKEN}`)}","json":"${asciiJson('é')}"}`.repeat(20),
);

type Encode = (body: Buffer) => Buffer;
const CODED: readonly (readonly [string, readonly Coding[], Encode])[] = [
  ['identity', [], body => body],
  ['gzip', ['gzip'], gzipSync],
  [
    'gzip, two members',
    ['gzip'],
    body => Buffer.concat([gzipSync(body.subarray(0, 50)), gzipSync(body.subarray(50))]),
  ],
  ['deflate', ['deflate'], deflateSync],
  ['deflate without zlib’s frame', ['deflate'], deflateRawSync],
  ['br', ['br'], brotliCompressSync],
  ['zstd', ['zstd'], zstdCompressSync],
  [
    'zstd, two frames',
    ['zstd'],
    body => Buffer.concat([zstdCompressSync(body.subarray(0, 50)), zstdCompressSync(body.subarray(50))]),
  ],
  ['gzip, then br', ['gzip', 'br'], body => brotliCompressSync(gzipSync(body))],
  [
    'zstd, then deflate, then gzip',
    ['zstd', 'deflate', 'gzip'],
    body => gzipSync(deflateSync(zstdCompressSync(body))),
  ],
];

/** Node 24 takes a second frame for data behind the end: withheld there, not lost. */
const IS_NODE_24 = process.versions.node.startsWith('24.');

async function decoded(applied: readonly Coding[], chunks: readonly Buffer[]): Promise<Collector> {
  const out = new Collector();
  const stage = decodeBody(applied, out);
  for (const chunk of chunks) stage.write(chunk);
  stage.end(['t', '1']);
  await out.settled;
  return out;
}

describe.each(CODED.filter(([name]) => !IS_NODE_24 || name !== 'zstd, two frames'))(
  '%s',
  (_, applied, encode) => {
    const coded = encode(TEXT);

    test('is decoded, whole and in stream, byte by byte', async () => {
      expect(decodeWhole(applied, coded, TEXT.length)?.equals(TEXT)).toBe(true);
      for (const chunks of [[coded], bytewise(coded)]) {
        const out = await decoded(applied, chunks);
        expect(out.bytes.equals(TEXT)).toBe(true);
        expect(out.ended).toEqual(['t', '1']);
      }
    });

    test('is scrubbed wherever it is cut', async () => {
      const expected = scrubberOf(patternsOf(TOKEN)).whole(TEXT).toString();
      expect(expected).toContain(STUB);
      for (let cut = 0; cut <= coded.length; cut += Math.ceil(coded.length / 40)) {
        const out = new Collector();
        const stage = decodeBody(applied, scrubberOf(patternsOf(TOKEN)).body(out));
        stage.write(coded.subarray(0, cut));
        stage.write(coded.subarray(cut));
        stage.end([]);
        await out.settled;
        expect(out.bytes.toString()).toBe(expected);
      }
    });

    test('gives up above the limit', () => {
      expect(decodeWhole(applied, coded, TEXT.length - 1)).toBeUndefined();
    });

    test('of nothing is nothing', async () => {
      expect(decodeWhole(applied, Buffer.alloc(0), 10)?.length).toBe(0);
      const out = await decoded(applied, []);
      expect([out.ended, out.bytes.length]).toEqual([['t', '1'], 0]);
    });
  },
);

describe.each(CODED.filter(([, applied]) => applied.length > 0))('%s', (_, applied, encode) => {
  const coded = encode(TEXT);
  const damaged = Buffer.from(coded);
  damaged.fill(0xff, coded.length >> 1, (coded.length >> 1) + 20);

  test.each([
    ['cut short', coded.subarray(0, -1)],
    ['of one byte', coded.subarray(0, 1)],
    ['damaged', damaged],
    ['not coded at all', TEXT],
    ['followed by something else', Buffer.concat([coded, Buffer.from('garbage')])],
  ])('is given up when %s', async (_, body) => {
    expect(decodeWhole(applied, body, MB)).toBeUndefined();
    for (const chunks of [[body], bytewise(body)]) {
      const out = await decoded(applied, chunks);
      expect(out.aborted).toBeInstanceOf(Error);
      expect(out.ended).toBeNull();
    }
  });
});

test.each(CODED.filter(([, applied]) => applied.length > 0))(
  '%s: what is decoded waits for a sink that is not ready',
  async (_, applied, encode) => {
    const bomb = encode(Buffer.alloc(10 * MB));
    const out = new Collector();
    out.accepts = false;
    const stage = decodeBody(applied, out);
    let asked = 0;
    stage.onDrain = () => asked++;
    for (let at = 0; at < bomb.length; at += 1024) stage.write(bomb.subarray(at, at + 1024));
    stage.end([]);
    const before = process.memoryUsage().arrayBuffers;
    for (let turn = 0; turn < 50; turn++) await new Promise(resolve => setImmediate(resolve));
    expect(out.chunks.length).toBeLessThan(4);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 * MB);
    out.accepts = true;
    out.onDrain?.();
    await out.settled;
    expect(out.bytes.length).toBe(10 * MB);
  },
);

test('an abort stops the decoder and is passed on once', async () => {
  const out = new Collector();
  const stage = decodeBody(['gzip'], out);
  stage.write(gzipSync(TEXT).subarray(0, 20));
  stage.abort(new Error('gone'));
  stage.abort(new Error('again'));
  stage.write(Buffer.from('late'));
  stage.end([]);
  await out.settled;
  expect(out.aborted?.message).toBe('gone');
  expect(out.ended).toBeNull();
});

test.each([
  [[], []],
  [['content-type', 'x'], []],
  [['Content-Encoding', 'identity'], []],
  [['Content-Encoding', ' GZIP '], ['gzip']],
  [['content-encoding', 'x-gzip'], ['gzip']],
  [
    ['content-encoding', 'zstd, deflate,br'],
    ['zstd', 'deflate', 'br'],
  ],
  [
    ['content-encoding', 'gzip', 'x', 'y', 'content-encoding', 'br'],
    ['gzip', 'br'],
  ],
  [['content-encoding', 'gzip, gzip, gzip, gzip'], undefined],
  [['content-encoding', 'compress'], undefined],
  [['content-encoding', 'gzip;q=1'], undefined],
  [['content-encoding', ''], undefined],
  [['content-encoding', 'gzip,'], undefined],
  [['content-encoding', 'aes128gcm'], undefined],
])('codings of %j', (headers, expected) => {
  expect(codings(headers)).toEqual(expected);
});
