import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { Refusal } from '../../src/errors.ts';
import { chunked } from '../../src/inject/sigv4/chunked.ts';
import { hashed } from '../../src/inject/sigv4/hashed.ts';
import { Signer } from '../../src/inject/sigv4/signer.ts';
import type { BodyStage, Sink } from '../../src/types.ts';
import { chunkedBody, ChunkSigner } from '../support/upstreams/aws-signed.ts';

const SCOPE = { time: '20260102T030405Z', region: 'eu-west-1', service: 's3' };
const [STUB, REAL] = ['s'.repeat(40), 'r'.repeat(40)];
const TRAILER = 'x-amz-checksum-crc32c:sOO8/Q==';
const CHUNKS = [Buffer.alloc(300, 'a'), Buffer.from('b'), Buffer.alloc(17, 'c')];

const signerOf = (secret: string): ChunkSigner =>
  new ChunkSigner(secret, SCOPE.time, SCOPE.region, SCOPE.service, secret);
const stage = (hasTrailer = false, limit = 1000): BodyStage =>
  chunked({
    client: new Signer(STUB, SCOPE, STUB),
    gate: new Signer(REAL, SCOPE, REAL),
    hasTrailer,
    limit,
  });

/** What a body becomes: the bytes that went on, and how it ended. */
function through(make: BodyStage, pieces: readonly Buffer[]) {
  const got: Buffer[] = [];
  const seen: string[] = [];
  const next: Sink = {
    onDrain: null,
    write: chunk => got.push(Buffer.from(chunk)) > 0,
    end: () => seen.push('end'),
    abort: cause => seen.push(cause.message),
  };
  const sink = make(next, (refusal: Refusal) => seen.push(refusal.code));
  for (const piece of pieces) sink.write(piece);
  sink.end([]);
  return { bytes: Buffer.concat(got), seen };
}
const cut = (body: Buffer, ...at: readonly number[]): Buffer[] =>
  [0, ...at].map((from, i) => body.subarray(from, at[i] ?? body.length));

describe('a body in signed chunks', () => {
  test.each([
    ['', undefined],
    ['with a trailer', TRAILER],
  ])('is signed anew wherever it is cut %s', (_, trailer) => {
    const body = chunkedBody(signerOf(STUB), CHUNKS, trailer);
    const expected = chunkedBody(signerOf(REAL), CHUNKS, trailer);
    expect(expected.length).toBe(body.length);
    for (let at = 0; at <= body.length; at++) {
      const { bytes, seen } = through(stage(trailer !== undefined), cut(body, at));
      expect(seen, `cut at ${at}`).toEqual(['end']);
      expect(bytes.equals(expected), `cut at ${at}`).toBe(true);
    }
    const { bytes } = through(
      stage(trailer !== undefined),
      Array.from(body, byte => Buffer.from([byte])),
    );
    expect(bytes.equals(expected)).toBe(true);
  });

  test('is refused with any byte changed, and never completes', () => {
    for (const trailer of [undefined, TRAILER]) {
      const body = chunkedBody(signerOf(STUB), CHUNKS, trailer);
      const expected = chunkedBody(signerOf(REAL), CHUNKS, trailer);
      for (let at = 0; at < body.length; at++) {
        const changed = Buffer.from(body);
        changed[at] = (changed[at] as number) ^ 1;
        const { bytes, seen } = through(stage(trailer !== undefined), [changed]);
        expect(seen, `changed at ${at}`).toHaveLength(1);
        expect(['invalid_signature', 'body_too_large'], `changed at ${at}`).toContain(seen[0]);
        expect(bytes.length, `changed at ${at}`).toBeLessThan(expected.length);
      }
    }
  });

  test('is refused when it ends early, wherever that is', () => {
    const body = chunkedBody(signerOf(STUB), CHUNKS, TRAILER);
    for (let length = 0; length < body.length; length++) {
      expect(through(stage(true), [body.subarray(0, length)]).seen).toEqual(['invalid_signature']);
    }
  });

  test.each([
    ['a size that is not hexadecimal', 'zz;chunk-signature=', 'invalid_signature'],
    ['a negative size', '-1;chunk-signature=', 'invalid_signature'],
    ['a size beyond the limit', '3e9;chunk-signature=', 'body_too_large'],
    ['a huge size', 'ffffffff;chunk-signature=', 'body_too_large'],
    ['a size of too many digits', '000000001;chunk-signature=', 'invalid_signature'],
    ['another extension', '1;x=y;chunk-signature=', 'invalid_signature'],
  ])('is refused with %s', (_, start, code) => {
    const { bytes, seen } = through(stage(), [Buffer.from(`${start}${'a'.repeat(64)}\r\n`)]);
    expect(seen).toEqual([code]);
    expect(bytes.length).toBe(0);
  });

  test.each([
    [5, 'end'],
    [400, 'invalid_signature'],
  ])('%i trailers, rightly signed: %s', (n, outcome) => {
    const signer = signerOf(STUB);
    const last = `0;chunk-signature=${signer.chunk(Buffer.alloc(0))}\r\n${`${TRAILER}\r\n`.repeat(n)}`;
    const body = `${last}x-amz-trailer-signature:${signer.trailer(`${TRAILER}\n`.repeat(n))}\r\n\r\n`;
    expect(through(stage(true), [Buffer.from(body)]).seen).toEqual([outcome]);
  });

  test('is refused with anything behind its end', () => {
    for (const more of ['0', '\r\n', '0\r\n\r\n']) {
      const body = Buffer.concat([chunkedBody(signerOf(STUB), CHUNKS), Buffer.from(more)]);
      const { seen } = through(stage(), [body]);
      expect(seen).toEqual(['invalid_signature']);
    }
  });

  test('is refused with a line that does not end', () => {
    const lines = Array.from({ length: 3000 }, () => Buffer.from('0'));
    expect(through(stage(), lines).seen).toEqual(['invalid_signature']);
  });
});

describe('a body whose hash is told', () => {
  const body = Buffer.from('0123456789'.repeat(20));
  const hash = createHash('sha256').update(body).digest('hex');

  test('goes on as it came, wherever it is cut', () => {
    for (let at = 0; at <= body.length; at++) {
      const { bytes, seen } = through(hashed(hash), cut(body, at));
      expect(seen).toEqual(['end']);
      expect(bytes.equals(body)).toBe(true);
    }
  });

  test('does not complete if it is another one', () => {
    for (const wrong of [body.subarray(1), Buffer.concat([body, body]), Buffer.from(body).fill('x', 9, 10)]) {
      const { bytes, seen } = through(hashed(hash), cut(wrong, 1, 50, wrong.length - 1));
      expect(seen).toEqual(['invalid_signature']);
      expect(bytes.length).toBeLessThan(wrong.length);
    }
  });
});
