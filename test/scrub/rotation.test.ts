import { Buffer } from 'node:buffer';
import { expect, test } from 'vitest';
import { Patterns, Scrubber } from '../../src/scrub/index.ts';
import { bytewise, Collector, patternsOf, STUB } from './stages.ts';
import { base64, percentAll } from './writers.ts';

const OLD = 'ghp_16C7e42F292c6912E7710c838347Ae178B4a';
const NEW = 'ghp_16C7e42F292c9999E7710c838347Ae178B4b';
const before = patternsOf(OLD);
const after = patternsOf(OLD, NEW);

/** A body that goes through byte by byte, and is searched for the new secret, too, from byte `at` on. */
function rotated(body: Buffer, at: number): string {
  let seen = 0;
  const scrubber = new Scrubber(
    before,
    () => STUB,
    () => (seen >= at ? after : before),
  );
  const out = new Collector();
  const stage = scrubber.body(out);
  for (const byte of bytewise(body)) {
    stage.write(byte);
    seen++;
  }
  stage.end([]);
  return out.bytes.toString();
}

test.each([
  ['as they are', (text: string) => text],
  ['percent-encoded', percentAll],
  ['in JSON escapes', (text: string) => JSON.stringify(text).replaceAll('_', String.raw`\u005f`)],
  ['in base64', base64],
])('wherever the secret is rotated in a stream, both are found: %s', (_, write) => {
  const head = `one ${write(OLD)} %41\\u0041&amp; two `;
  const body = Buffer.from(`${head}${write(NEW)} three ${write(OLD)}`);
  const whole = new Scrubber(after, () => STUB).whole(body).toString();
  // Until the new one begins, the gate may learn of it; what is out by then is out.
  for (let at = 0; at <= head.length; at++) expect(rotated(body, at)).toBe(whole);
  for (const secret of [OLD, NEW]) expect(whole).not.toContain(write(secret));
  // Later, too, the old one is found, and every other byte is there.
  for (let at = head.length; at <= body.length; at++) {
    const text = rotated(body, at);
    expect(text.startsWith(whole.slice(0, whole.indexOf(' two ')))).toBe(true);
    expect(text).not.toContain(write(OLD));
  }
});

test('trailers are searched for what the gate knows by then', () => {
  let present = before;
  const scrubber = new Scrubber(
    before,
    () => STUB,
    () => present,
  );
  present = after;
  expect(scrubber.headers(['x', NEW])).toEqual(['x', STUB]);
});

test('a stream is still searched for the last patterns once there are none', () => {
  let present = before;
  const scrubber = new Scrubber(
    before,
    () => STUB,
    () => present,
  );
  const out = new Collector();
  const stage = scrubber.body(out);
  present = new Patterns([]);
  stage.write(Buffer.from(OLD));
  stage.end([]);
  expect(out.bytes.toString()).toBe(STUB);
});
