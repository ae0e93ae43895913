import { errorOf, type Fault, faultOf } from './fault.ts';

/** A process at the other end of an IPC channel: a child, or the parent. */
export interface Port {
  send?(message: unknown, sent: (error: Error | null) => void): unknown;
  on(event: 'message', listener: (message: unknown) => void): unknown;
}

/** What may be called at one end. */
export type Calls<T> = { readonly [K in keyof T]: (...args: never[]) => unknown };

type Result<T, K extends keyof T> = T[K] extends (...args: never[]) => infer R ? Awaited<R> : never;
type Args<T, K extends keyof T> = T[K] extends (...args: infer A) => unknown ? A : never;

/** A call; id 0: nobody waits for the answer. */
type Call = readonly [type: 'call', id: number, name: string, args: readonly unknown[]];
type Answer = readonly [type: 'answer', id: number, value: unknown, fault: Fault | undefined];

interface Waiting {
  readonly resolve: (value: never) => void;
  readonly reject: (cause: Error) => void;
}

/**
 * Calls between two processes. What one end sends arrives in that order, and each call has begun before the next one does.
 * Messages are the structured clone algorithm's (`serialization: 'advanced'`): Map and undefined arrive as they are.
 */
export class Channel<Theirs extends Calls<Theirs>, Ours extends Calls<Ours>> {
  readonly #port: Port;
  readonly #ours: Ours;
  readonly #late: () => Error;
  readonly #waiting = new Map<number, Waiting>();
  #last = 0;
  #end: Error | undefined;

  /** `late`: what a call rejects with that is not answered in its time. */
  constructor(port: Port, ours: Ours, late: () => Error) {
    this.#port = port;
    this.#ours = ours;
    this.#late = late;
    port.on('message', message => this.#take(message as Call | Answer));
  }

  /** Rejects with what the call throws there. `ms`: for its answer. */
  ask<K extends keyof Theirs & string>(
    ms: number,
    name: K,
    ...args: Args<Theirs, K>
  ): Promise<Result<Theirs, K>> {
    return new Promise((resolve, reject) => {
      if (this.#end) return reject(this.#end);
      const id = ++this.#last;
      const settle = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(id);
      };
      const timer = setTimeout(() => {
        settle();
        reject(this.#late());
      }, ms);
      this.#waiting.set(id, {
        resolve: value => {
          settle();
          resolve(value);
        },
        reject: cause => {
          settle();
          reject(cause);
        },
      });
      this.#send(['call', id, name, args]);
    });
  }

  tell<K extends keyof Theirs & string>(name: K, ...args: Args<Theirs, K>): void {
    this.#send(['call', 0, name, args]);
  }

  /** Nothing is answered any more. */
  close(cause: Error): void {
    this.#end ??= cause;
    for (const { reject } of this.#waiting.values()) reject(this.#end);
  }

  // A channel that is cut tells so by itself: 'disconnect', and 'exit' of a child.
  #send(message: Call | Answer): void {
    this.#port.send?.(message, () => {});
  }

  #take(message: Call | Answer): void {
    if (message[0] === 'call') return this.#call(message);
    const [, id, value, fault] = message;
    const waiting = this.#waiting.get(id);
    if (fault) waiting?.reject(errorOf(fault));
    else waiting?.resolve(value as never);
  }

  #call([, id, name, args]: Call): void {
    const call = this.#ours[name as keyof Ours] as unknown as (...args: readonly unknown[]) => unknown;
    // Without anybody to tell, what is thrown ends the process: it would not be what the other end believes.
    if (id === 0) return void call(...args);
    void answer(() => call(...args)).then(([value, fault]) => this.#send(['answer', id, value, fault]));
  }
}

async function answer(call: () => unknown): Promise<[value: unknown, fault: Fault | undefined]> {
  try {
    return [await call(), undefined];
  } catch (thrown) {
    return [undefined, faultOf(thrown)];
  }
}
