import { expect, test } from 'vitest';
import { Refusal } from '../../src/errors.ts';
import { detector, Patterns, Scrubber } from '../../src/scrub/index.ts';
import { Secret } from '../../src/secret.ts';
import type { Sink } from '../../src/types.ts';

const SECRET = 'canary-0123456789-abcdefghij';
const STUB = 'stub-xyz';
const SHOWN = STUB.padEnd(SECRET.length, '*');
const GRPC = ['content-type', 'application/grpc+proto'];
const patterns = new Patterns([new Secret('api', SECRET)]);

function message(text: string, flag = 0): Buffer {
  const prefix = Buffer.alloc(5, flag);
  prefix.writeUInt32BE(Buffer.byteLength(text, 'latin1'), 1);
  return Buffer.concat([prefix, Buffer.from(text, 'latin1')]);
}

interface Collector extends Sink {
  readonly chunks: Buffer[];
  readonly causes: Error[];
  readonly text: string;
}

function collector(): Collector {
  const chunks: Buffer[] = [];
  const causes: Error[] = [];
  return {
    chunks,
    causes,
    onDrain: null,
    write: chunk => chunks.push(chunk) > 0,
    end: () => undefined,
    abort: cause => void causes.push(cause),
    get text() {
      return Buffer.concat(chunks).toString('latin1');
    },
  };
}

function scrubbed(chunks: readonly Buffer[], isEnded = true): Collector {
  const out = collector();
  const stage = new Scrubber(patterns, () => STUB).body(out, GRPC);
  for (const chunk of chunks) stage.write(chunk);
  if (isEnded) stage.end([]);
  return out;
}

const BODY = Buffer.concat([message(`a ${SECRET} b`), message(''), message(SECRET), message('c')]);
const CLEAN = Buffer.concat([message(`a ${SHOWN} b`), message(''), message(SHOWN), message('c')]);

test('a secret is replaced by as many bytes, wherever the body is split', () => {
  for (let at = 0; at <= BODY.length; at++) {
    const out = scrubbed([BODY.subarray(0, at), BODY.subarray(at)]);
    expect(out.text).toBe(CLEAN.toString('latin1'));
  }
  expect(scrubbed(Array.from(BODY, (_, i) => BODY.subarray(i, i + 1))).text).toBe(CLEAN.toString('latin1'));
});

test('in other spellings the length stays, too', () => {
  for (const encoding of ['base64', 'base64url', 'hex', 'utf16le'] as const) {
    const spelled = encoding === 'utf16le' ? SECRET : Buffer.from(SECRET).toString(encoding);
    const text = encoding === 'utf16le' ? Buffer.from(SECRET, 'utf16le').toString('latin1') : spelled;
    const { text: clean } = scrubbed([message(`<${text}>`)]);
    expect(clean).toHaveLength(text.length + 7);
    expect(clean).not.toContain(text);
    expect(clean.slice(0, 6)).toBe(message(`<${text}>`).toString('latin1', 0, 6));
    expect(clean.at(-1)).toBe('>');
  }
});

test('a message that ends like the start of a secret does not wait for the next one', () => {
  for (const end of ['c', 'cana', 'Y2Fu']) {
    expect(scrubbed([message(`x${end}`)], false).text).toBe(message(`x${end}`).toString('latin1'));
  }
});

test('a made-up end of a message lets no half of a secret out', () => {
  for (let cut = 5; cut < SECRET.length; cut++) {
    const head = message(`echo ${SECRET.slice(0, cut)}`);
    const out = scrubbed([head, Buffer.from(`${SECRET.slice(cut)} and more`)], false);
    expect(out.causes).toHaveLength(1);
    expect(out.text).not.toContain(SECRET.slice(0, 5));
    expect(out.text).not.toContain(SECRET.slice(cut));
  }
});

test.each([
  ['a compressed message', message('x', 1)],
  ['an unknown flag', message('x', 2)],
  ['plain text', Buffer.from('{"not":"gRPC"}')],
  ['a length beyond 16 MiB', Buffer.from([0, 1, 0, 0, 0])],
  ['half a prefix', Buffer.from([0, 0])],
])('%s ends the answer', (_, bytes) => {
  const { causes, text } = scrubbed([message('ok'), bytes]);
  expect(causes.map(cause => (cause as Refusal).code)).toEqual(['undecodable_response']);
  expect(text).toBe(message('ok').toString('latin1'));
});

test('in a request, a secret in a message is seen, and a compressed message passes', () => {
  const seen: string[] = [];
  const out = collector();
  const stage = detector(patterns, out, name => seen.push(name), GRPC);
  stage.write(message('c'));
  stage.write(message('packed', 1));
  expect(out.text).toBe(Buffer.concat([message('c'), message('packed', 1)]).toString('latin1'));
  stage.write(message(`x ${SECRET}`));
  stage.write(message('after'));
  expect(seen).toEqual(['api']);
  expect(out.text).not.toContain('after');
});

test('a request that is not made of messages is refused', () => {
  const out = collector();
  detector(patterns, out, () => undefined, GRPC).write(Buffer.from('text'.repeat(5)));
  expect(out.causes.map(cause => (cause as Refusal).code)).toEqual(['malformed_request']);
});
