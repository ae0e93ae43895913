import type { Http2Session } from 'node:http2';
import { expect, test } from 'vitest';
import { UnseenStreams } from '../../../src/wire/h2/unseen.ts';

/** `last`: the highest identifier of which the peer has begun a stream. */
function scene(max = 100) {
  const state = { lastProcStreamID: 0 };
  let told = 0;
  const session = { state, destroyed: false, destroy: () => undefined } as unknown as Http2Session;
  const handlers = { request: () => undefined, malformed: () => void told++, closed: () => undefined };
  return { state, session, unseen: new UnseenStreams(session, handlers, max), told: () => told };
}

test('a stream that was seen is not told of', () => {
  const { unseen, state, told } = scene();
  for (const id of [1, 3, 5]) unseen.seen(id);
  state.lastProcStreamID = 5;
  unseen.look();
  unseen.look();
  unseen.look(true);
  expect(told()).toBe(0);
});

test('each gap is told of once', () => {
  const { unseen, state, told } = scene();
  unseen.seen(5); // 1 and 3 were reset
  expect(told()).toBe(2);
  state.lastProcStreamID = 9;
  unseen.look(true);
  expect(told()).toBe(4);
  unseen.look(true);
  expect(told()).toBe(4);
});

test('a stream whose head may still be coming is not told of before the second look', () => {
  const { unseen, state, told } = scene();
  state.lastProcStreamID = 1;
  unseen.look();
  expect(told()).toBe(0);
  unseen.look();
  expect(told()).toBe(1);
});

test('a client that leaves identifiers out does not fill the audit', () => {
  const { unseen, told } = scene(100);
  unseen.seen(2 ** 31 - 1);
  expect(told()).toBe(100);
});

test('what was reset before node:http2 ends a session for a fault is told of first', () => {
  const { unseen, session, state, told } = scene();
  unseen.seen(1);
  state.lastProcStreamID = 5;
  session.destroy();
  expect(told()).toBe(2);
});
