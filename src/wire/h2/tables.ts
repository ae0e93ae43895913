import type { Http2Session } from 'node:http2';
import { types } from 'node:util';

// V8's Map and Set, when members come and go, move to a new table every few dozen of them, and the old table refers to
// the new one. Once one of them has grown old, each scavenge finds the whole chain alive, and every stream that stood in
// a table when it was left: all are copied, and stay until the next full collection. That was a fifth of the time of a
// request, and a second core's beside. Arrays leave nothing behind.

/** A set whose members come and go; a few hundred at most. */
export class Crowd<T> {
  #members: T[] = [];

  get size(): number {
    return this.#members.length;
  }

  add(member: T): void {
    if (!this.#members.includes(member)) this.#members.push(member);
  }

  has(member: T): boolean {
    return this.#members.includes(member);
  }

  delete(member: T): boolean {
    return removeAt(this.#members, this.#members.indexOf(member));
  }

  clear(): void {
    this.#members = [];
  }

  values(): Iterator<T> {
    return this[Symbol.iterator]();
  }

  /** Of those that are members now, in any order. */
  forEach(each: (member: T) => void): void {
    for (const member of this) each(member);
  }

  [Symbol.iterator](): Iterator<T> {
    return this.#members.slice().values();
  }
}

/** What a session of node:http2 may ask of the Map of its streams. */
export class StreamTable<T> {
  #ids: number[] = [];
  #streams: T[] = [];

  get size(): number {
    return this.#ids.length;
  }

  get(id: number): T | undefined {
    return this.#streams[this.#ids.lastIndexOf(id)];
  }

  has(id: number): boolean {
    return this.#ids.includes(id);
  }

  set(id: number, stream: T): this {
    this.delete(id);
    this.#ids.push(id);
    this.#streams.push(stream);
    return this;
  }

  delete(id: number): boolean {
    const at = this.#ids.indexOf(id);
    removeAt(this.#streams, at);
    return removeAt(this.#ids, at);
  }

  clear(): void {
    this.#ids = [];
    this.#streams = [];
  }

  /** Of the streams that are there now, in any order. */
  forEach(each: (stream: T, id: number) => void): void {
    for (const [id, stream] of this) each(stream, id);
  }

  keys(): Iterator<number> {
    return this.#ids.slice().values();
  }

  values(): Iterator<T> {
    return this.#streams.slice().values();
  }

  entries(): Iterator<[id: number, stream: T]> {
    return this[Symbol.iterator]();
  }

  [Symbol.iterator](): Iterator<[id: number, stream: T]> {
    return this.#ids.map((id, at): [number, T] => [id, this.#streams[at] as T]).values();
  }
}

function removeAt(list: unknown[], at: number): boolean {
  if (at < 0) return false;
  const last = list.pop();
  if (at < list.length) list[at] = last;
  return true;
}

interface SessionState {
  streams: unknown;
  pendingStreams: unknown;
}

/** Versions of Node whose tables are known. */
const KNOWN = /^(?:24|26)\./;

/**
 * Replaces the tables of a session's streams. They are Node's own affair: where they are not found as they are known,
 * they stay, and all works as before, only slower.
 */
export function replaceTables(session: Http2Session): void {
  if (!KNOWN.test(process.versions.node)) return;
  const key = Object.getOwnPropertySymbols(session).find(({ description }) => description === 'state');
  const state = key && (session as unknown as Record<symbol, SessionState | undefined>)[key];
  // Node's own kinds of Map and Set have another prototype.
  if (!state || !types.isMap(state.streams) || !types.isSet(state.pendingStreams)) return;
  const streams = new StreamTable<unknown>();
  for (const [id, stream] of state.streams) streams.set(id as number, stream);
  const pending = new Crowd<unknown>();
  for (const stream of state.pendingStreams) pending.add(stream);
  state.streams = streams;
  state.pendingStreams = pending;
}
