import { once } from 'node:events';
import http2, { type Http2Session } from 'node:http2';
import net, { type AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { Crowd, replaceTables, StreamTable } from '../../../src/wire/h2/tables.ts';

const membersOf = (crowd: { forEach(each: (one: unknown) => void): void }): string[] => {
  const all: string[] = [];
  crowd.forEach(one => all.push(String(one)));
  return sorted(all);
};
const sorted = (all: readonly string[]): string[] => all.toSorted((a, b) => a.localeCompare(b));

test('a crowd holds each member once, until it goes', () => {
  const crowd = new Crowd<string>();
  for (const one of ['a', 'b', 'c', 'b']) crowd.add(one);
  expect([crowd.size, membersOf(crowd)]).toEqual([3, ['a', 'b', 'c']]);
  expect([crowd.delete('a'), crowd.delete('a'), crowd.delete('c')]).toEqual([true, false, true]);
  expect([crowd.size, [...crowd]]).toEqual([1, ['b']]);
});

test('members that go, and come, while all are gone through are seen as they were', () => {
  const crowd = new Crowd<number>();
  for (const one of [1, 2, 3]) crowd.add(one);
  const seen: number[] = [];
  for (const one of crowd) {
    seen.push(one);
    crowd.delete(one);
    crowd.add(one + 10);
  }
  expect(seen).toEqual([1, 2, 3]);
  expect(membersOf(crowd)).toEqual(['11', '12', '13']);
});

test('a table of streams answers as a Map does, whatever is asked of it', () => {
  const table = new StreamTable<string>();
  const map = new Map<number, string>();
  let random = 7;
  for (let i = 0; i < 2000; i++) {
    random = (random * 1_103_515_245 + 12_345) % 2_147_483_648;
    const id = random % 40;
    if (random % 3 === 0) expect(table.delete(id)).toBe(map.delete(id));
    else {
      table.set(id, `${i}`);
      map.set(id, `${i}`);
    }
    expect([table.size, table.get(id), table.get(id + 1)]).toEqual([map.size, map.get(id), map.get(id + 1)]);
    expect([table.has(id), table.has(id + 1)]).toEqual([map.has(id), map.has(id + 1)]);
  }
  expect(membersOf(table)).toEqual(sorted([...map.values()]));
  const pairs = (all: Iterable<[number, string]>): string[] => sorted([...all].map(String));
  expect(pairs(table)).toEqual(pairs(map));
  expect(pairs({ [Symbol.iterator]: () => table.entries() })).toEqual(pairs(map));
  expect(sorted([...{ [Symbol.iterator]: () => table.keys() }].map(String))).toEqual(
    sorted([...map.keys()].map(String)),
  );
  expect(sorted([...{ [Symbol.iterator]: () => table.values() }])).toEqual(sorted([...map.values()]));
  table.clear();
  expect([table.size, [...table]]).toEqual([0, []]);
});

/** What this Node keeps a session's streams in. */
function tablesOf(session: Http2Session): { streams: unknown; pendingStreams: unknown } {
  const key = Object.getOwnPropertySymbols(session).find(({ description }) => description === 'state');
  return (session as unknown as Record<symbol, ReturnType<typeof tablesOf>>)[key as symbol] as ReturnType<
    typeof tablesOf
  >;
}

test('a session of this Node has its tables replaced, with what stands in them', async () => {
  const server = net.createServer(socket => socket.resume());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const session = http2.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  onTestFinished(() => {
    session.destroy();
    server.close();
  });
  await once(session, 'connect');
  const closed = [session.request(), session.request()].map(stream => {
    stream.on('error', () => {});
    return once(stream, 'close');
  });
  replaceTables(session);
  const { streams, pendingStreams } = tablesOf(session);
  expect(streams).toBeInstanceOf(StreamTable);
  expect(pendingStreams).toBeInstanceOf(Crowd);
  expect([(streams as StreamTable<unknown>).size, (pendingStreams as Crowd<unknown>).size]).toEqual([2, 0]);
  session.destroy();
  await Promise.all(closed);
  expect((streams as StreamTable<unknown>).size).toBe(0);
});

test('a session that is made in another way is left alone', () => {
  const session = { [Symbol('state')]: { streams: {}, pendingStreams: {} } } as unknown as Http2Session;
  replaceTables(session);
  expect(tablesOf(session)).toEqual({ streams: {}, pendingStreams: {} });
  expect(() => replaceTables({} as Http2Session)).not.toThrow();
});
