import { EventEmitter } from 'node:events';
import { expect, test } from 'vitest';
import { Refusal } from '../../src/errors.ts';
import { SessionError } from '../../src/state/session.ts';
import { Channel, type Port } from '../../src/workers/channel.ts';

/** Nothing can be asked of whoever asks. */
interface Nothing {
  nothing(): void;
}

interface Echo {
  echo(value: unknown): unknown;
  later(value: string): Promise<string>;
  never(): Promise<void>;
  note(value: string): void;
  fail(how: string): void;
}

/** Two ends in this process; what is sent goes through the structured clone algorithm, as between two. */
function ports(): [Port, Port] {
  const [a, b] = [new EventEmitter(), new EventEmitter()];
  const port = (own: EventEmitter, other: EventEmitter): Port => ({
    send: message => setImmediate(() => other.emit('message', structuredClone(message))),
    on: (event, listener) => own.on(event, listener),
  });
  return [port(a, b), port(b, a)];
}

function open() {
  const noted: string[] = [];
  const [here, there] = ports();
  const errors: Readonly<Record<string, Error>> = {
    refusal: new Refusal('session_revoked'),
    session: new SessionError('full', 'too many'),
    system: Object.assign(new Error('taken'), { code: 'EADDRINUSE' }),
  };
  const server = new Channel<Nothing, Echo>(
    there,
    {
      echo: value => value,
      later: value => new Promise(resolve => setImmediate(() => resolve(value))),
      never: () => new Promise(() => {}),
      note: value => void noted.push(value),
      fail: how => {
        throw errors[how];
      },
    },
    () => new Error('late'),
  );
  const channel = new Channel<Echo, Nothing>(here, { nothing: () => {} }, () => new Error('late'));
  return { channel, server, noted };
}

test('what is asked is answered, in whatever order that is done; Map and undefined stay what they are', async () => {
  const { channel } = open();
  const value = new Map([['a', { b: undefined, c: [1] }]]);
  const [later, echoed, nothing] = await Promise.all([
    channel.ask(1000, 'later', 'x'),
    channel.ask(1000, 'echo', value),
    channel.ask(1000, 'echo', undefined),
  ]);
  expect([later, echoed, nothing]).toEqual(['x', value, undefined]);
});

test('what was told has been done when a later question is answered', async () => {
  const { channel, noted } = open();
  channel.tell('note', 'first');
  channel.tell('note', 'second');
  await channel.ask(1000, 'echo', 0);
  expect(noted).toEqual(['first', 'second']);
});

test('an error stays what it was: a Refusal, a SessionError, the code of the system', async () => {
  const { channel } = open();
  const failing = (how: string) => channel.ask(1000, 'fail', how).catch((error: unknown) => error);
  expect(await failing('refusal')).toMatchObject({ code: 'session_revoked', status: 407 });
  expect(await failing('refusal')).toBeInstanceOf(Refusal);
  expect(await failing('session')).toMatchObject({ kind: 'full', message: 'too many' });
  expect(await failing('session')).toBeInstanceOf(SessionError);
  expect(await failing('system')).toMatchObject({ message: 'taken', code: 'EADDRINUSE' });
  // What is no error at all is one here.
  expect(await failing('else')).toBeInstanceOf(Error);
});

test('nobody waits longer than he said, nor for an end that is gone', async () => {
  const { channel } = open();
  await expect(channel.ask(1, 'never')).rejects.toThrow('late');
  const waiting = channel.ask(60_000, 'never');
  channel.close(new Error('gone'));
  await expect(waiting).rejects.toThrow('gone');
  await expect(channel.ask(1000, 'echo', 1)).rejects.toThrow('gone');
});
