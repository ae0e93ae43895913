import type { Http2Session } from 'node:http2';
import type { Socket } from 'node:net';
import { expect, onTestFinished, test, vi } from 'vitest';
import { Vigil } from '../../../src/wire/h2/vigil.ts';

const SILENT_MS = 30_000;
const START = 100_000;

/** A peer that is watched from START on, in a process that has been up for so long. */
function watched() {
  const now = vi.spyOn(performance, 'now').mockReturnValue(START);
  onTestFinished(() => now.mockRestore());
  const session = {
    destroyed: false,
    closed: false,
    ping: vi.fn<() => boolean>(() => true),
    settings: vi.fn<() => void>(),
  };
  const socket = { bytesRead: 0 };
  const vigil = new Vigil(session as unknown as Http2Session, socket as Socket);
  const look = (ms: number, isDue = true): boolean => vigil.isVain(START + ms, isDue, SILENT_MS);
  return { session, socket, look };
}

test('a peer has its time from when it is watched, however long the process is up', () => {
  const { session, look } = watched();
  expect([500, 1000, SILENT_MS].map(ms => look(ms))).toEqual([false, false, false]);
  expect(session.ping).not.toHaveBeenCalled();
});

test('a silent one is asked once, and given up when it does not answer', () => {
  const { session, look } = watched();
  look(0);
  expect([SILENT_MS + 1, SILENT_MS + 500, SILENT_MS + 10_000].map(ms => look(ms))).toEqual([
    false,
    false,
    false,
  ]);
  expect(session.ping).toHaveBeenCalledTimes(1);
  expect(look(SILENT_MS + 10_001)).toBe(true);
});

test('one that answers has its time anew, and is asked again', () => {
  const { session, socket, look } = watched();
  look(0);
  look(SILENT_MS + 1);
  socket.bytesRead = 17;
  expect([SILENT_MS + 9000, SILENT_MS + 10_001, 2 * SILENT_MS + 9000].map(ms => look(ms))).toEqual([
    false,
    false,
    false,
  ]);
  expect(session.ping).toHaveBeenCalledTimes(1);
  look(2 * SILENT_MS + 9001);
  expect(session.ping).toHaveBeenCalledTimes(2);
});

test('nothing is asked of one of whom nothing is due, nor of a session that is over', () => {
  const { session, look } = watched();
  expect(look(90_000, false)).toBe(false);
  session.destroyed = true;
  expect(look(90_000 + SILENT_MS + 1)).toBe(false);
  expect(session.ping).not.toHaveBeenCalled();
});

test('behind a GOAWAY it is asked by what is still sent then', () => {
  const { session, look } = watched();
  session.closed = true;
  look(0);
  look(SILENT_MS + 1);
  expect([session.ping.mock.calls.length, session.settings.mock.calls]).toEqual([0, [[{}]]]);
});
