import { expect, test } from 'vitest';
import { Refusal } from '../../src/errors.ts';
import { Metered } from '../../src/limits/metered.ts';
import type { Sink } from '../../src/types.ts';

/** A body whose chunks are paid for one by one, when the test says so. */
function metered() {
  const seen: string[] = [];
  const pays: { readonly paid: () => void; readonly refused: (cause: Error) => void }[] = [];
  const next: Sink = {
    onDrain: null,
    write: chunk => seen.push(chunk.toString()) > 0,
    end: () => seen.push('end'),
    abort: cause => seen.push(`abort: ${cause.message}`),
  };
  const meter = () =>
    new Promise<void>((paid, refused) => {
      pays.push({ paid, refused });
    });
  const sink = new Metered(meter, next, ({ code }) => seen.push(code));
  const write = (text: string): boolean => sink.write(Buffer.from(text));
  const settle = (): Promise<void> => new Promise(resolve => setImmediate(resolve));
  return { sink, next, seen, pays, write, settle };
}

test('chunks and the end wait, in their order, for what is before them', async () => {
  const { sink, seen, pays, write, settle } = metered();
  expect([write('a'), write('b')]).toEqual([false, false]);
  sink.end([]);
  await settle();
  expect(seen).toEqual([]);
  pays[0]?.paid();
  await settle();
  expect(seen).toEqual(['a']);
  pays[1]?.paid();
  await settle();
  expect(seen).toEqual(['a', 'b', 'end']);
});

test('behind a refusal nothing goes on, and no second one is told', async () => {
  const { sink, seen, pays, write, settle } = metered();
  write('a');
  write('b');
  pays[0]?.refused(new Refusal('rate_limited'));
  await settle();
  expect(write('c')).toBe(false);
  sink.end([]);
  await settle();
  expect([seen, pays.length]).toEqual([['rate_limited'], 1]);
});

test('what is paid for after the body was cut does not go on', async () => {
  const { sink, seen, pays, write, settle } = metered();
  write('a');
  sink.abort(new Error('cut'));
  pays[0]?.paid();
  await settle();
  expect(seen).toEqual(['abort: cut']);
});

test('room behind it is told, but not as long as a chunk is not paid for', async () => {
  const { sink, next, seen, pays, write, settle } = metered();
  sink.onDrain = () => seen.push('room');
  next.onDrain?.();
  expect(seen).toEqual(['room']);
  write('a');
  next.onDrain?.();
  expect(seen).toEqual(['room']);
  pays[0]?.paid();
  await settle();
  expect(seen).toEqual(['room', 'a', 'room']);
});
