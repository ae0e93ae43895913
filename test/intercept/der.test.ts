import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import * as der from '../../src/intercept/der.ts';

const hex = (bytes: Buffer) => bytes.toString('hex');

test.each([
  ['00', '020100'],
  ['01', '020101'],
  ['7f', '02017f'],
  ['80', '02020080'],
  ['0080', '02020080'],
  ['000001', '020101'],
  ['ffff', '020300ffff'],
])('integer %s is %s', (magnitude, expected) => {
  expect(hex(der.integer(Buffer.from(magnitude, 'hex')))).toBe(expected);
});

// The lower two are RFC 5280's and X.690's own examples.
test.each([
  ['2.5.29.17', '0603551d11'],
  ['1.2.840.10045.4.3.2', '06082a8648ce3d040302'],
  ['1.2.840.113549.1.1.11', '06092a864886f70d01010b'],
])('object identifier %s is %s', (dotted, expected) => {
  expect(hex(der.oid(dotted))).toBe(expected);
});

test.each([
  ['2026-01-02T03:04:05.678Z', '170d3236303130323033303430355a'],
  ['2049-12-31T23:59:59.999Z', '170d3439313233313233353935395a'],
  ['2050-01-01T00:00:00.000Z', '180f32303530303130313030303030305a'],
  ['2126-06-07T08:09:10.000Z', '180f32313236303630373038303931305a'],
])('time %s is %s', (iso, expected) => {
  expect(hex(der.time(Date.parse(iso)))).toBe(expected);
});

test.each([0, 1, 127, 128, 255, 256, 65_535])('an element of %i bytes is read back', length => {
  const content = Buffer.alloc(length, 7);
  const raw = der.octetString(content);
  expect(der.elements(raw)).toEqual([{ tag: 4, content, raw }]);
});

test('refuses to write what is longer than any certificate', () => {
  expect(() => der.octetString(Buffer.alloc(65_536))).toThrow(RangeError);
});

test('elements that stand in a row are read in order', () => {
  const row = Buffer.concat([der.TRUE, der.sequence(der.oid('2.5.29.17')), der.integer(Buffer.from([5]))]);
  expect(der.elements(row).map(e => e.tag)).toEqual([1, 0x30, 2]);
});

test('reading ends, in elements that cover every byte or an error, whatever the bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), bytes => {
      const given = Buffer.from(bytes);
      let read: Buffer;
      try {
        read = Buffer.concat(der.elements(given).map(e => e.raw));
      } catch (error) {
        return error instanceof RangeError;
      }
      return read.equals(given);
    }),
  );
});
