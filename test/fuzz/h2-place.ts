import { closeSync, openSync, readSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { AuditEvent } from '../../src/types.ts';
import { canary } from '../support/canary.ts';
import { type LocalGate, startTestGate, type TestSession } from '../support/gate.ts';
import { openH2Socket } from '../support/h2.ts';
import { ACK, END_HEADERS, END_STREAM, frame, HEADERS, SETTINGS } from '../support/h2-frames.ts';
import { type RawUpstream, startRaw } from '../support/upstream.ts';
import { type H1Reading, readH1 } from './h1-reading.ts';
import { H2Reading } from './h2-reading.ts';

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
/** ms in which whatever is not stuck has come. */
export const PATIENCE_MS = 20_000;
/** Each in front of an upstream that speaks one version, with a credential, or without. */
const KINDS = ['h1', 'h2', 'open1', 'open2'] as const;
/** Of each kind, taken in turn: what an upstream still receives late is told apart by the name. */
const NAMES = Array.from({ length: 16 }, (_, n) => `n${n}`);
/** The same for trials that begin with a seed. */
const SEED_NAMES = Array.from({ length: 10 }, (_, n) => `s${n}`);
const hostsOf = (kind: string): string[] => [...NAMES, ...SEED_NAMES].map(one => `${one}.${kind}.test`);
const [H1_HOSTS, H2_HOSTS] = [/1$/, /2$/].map(end =>
  KINDS.filter(kind => end.test(kind)).flatMap(hostsOf),
) as [string[], string[]];
/** A host for the `n`th trial. */
export const hostFor = (n: number): string =>
  `${NAMES[Math.trunc(n / KINDS.length) % NAMES.length]}.${KINDS[n % KINDS.length]}.test`;
/** The one that seeds name. */
export const SEED_HOST = 'n0.h1.test';
/** As long as that one, for the `n`th trial with a seed; its upstream speaks HTTP/1.1 or HTTP/2. */
export const seedHostFor = (n: number): string => `s${(n >> 1) % SEED_NAMES.length}.h${1 + (n & 1)}.test`;
/** Its upstream says what the trial wants it to say. */
export const SCRIPTED = 'script.test';
/** `:status: 200`, of the static table. */
const OK = Buffer.of(0x88);

/** One end of an HTTP/2 connection: keeps what it reads, and answers SETTINGS and PING as it must. */
export class H2End {
  readonly reading = new H2Reading();
  readonly socket: Socket;
  isClosed = false;
  /** It keeps its answers to itself, so that none stands inside of a frame that is sent in pieces. */
  isSilent = false;
  readonly #unsaid: Buffer[] = [];
  /** Called after each read, and at the end. */
  onChange: (() => void) | undefined;

  /** `skip`: bytes before the first frame. */
  constructor(socket: Socket, skip = 0) {
    this.socket = socket;
    socket.setNoDelay(true);
    let skipped = 0;
    this.reading.onAsk = (type, payload) => {
      this.#unsaid.push(frame(type, ACK, 0, type === SETTINGS ? undefined : payload));
      if (!this.isSilent) this.speak();
    };
    socket.on('data', (chunk: Buffer) => {
      const from = Math.min(chunk.length, skip - skipped);
      skipped += from;
      this.reading.push(chunk.subarray(from));
      this.onChange?.();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.isClosed = true;
      this.onChange?.();
    });
  }

  send(...bytes: readonly Buffer[]): void {
    if (!this.socket.destroyed && this.socket.writable) this.socket.write(Buffer.concat(bytes));
  }

  speak(): void {
    this.isSilent = false;
    if (this.#unsaid.length > 0) this.send(...this.#unsaid.splice(0));
  }

  /** Whether it came true in time. */
  async until(isDone: () => boolean): Promise<boolean> {
    if (isDone()) return true;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => resolve(false), PATIENCE_MS);
    this.onChange = () => {
      if (isDone()) resolve(true);
    };
    const came = await promise;
    clearTimeout(timer);
    return came;
  }
}

/** The client's end, which has sent its preface. */
export async function openClient({ gate }: Place, session: TestSession, host: string): Promise<H2End> {
  const client = new H2End(await openH2Socket(session.proxy, gate.ca, host));
  client.send(Buffer.from(PREFACE), frame(SETTINGS, 0, 0));
  return client;
}

/** Host → what was received on each connection. */
export class ByHost<T> {
  readonly #all = new Map<string, T[]>();

  of(host: string): readonly T[] {
    return this.#all.get(host) ?? [];
  }

  add(socket: Socket, one: T): void {
    const host = String((socket as TLSSocket).servername);
    const known = this.#all.get(host);
    if (known) known.push(one);
    else this.#all.set(host, [one]);
  }

  forget(host: string): void {
    this.#all.delete(host);
  }
}

/** A gate and its upstreams. */
export interface Place {
  readonly gate: LocalGate;
  readonly secret: string;
  readonly audit: AuditTail;
  /** What upstreams received of requests to a host. */
  readonly h1: ByHost<() => H1Reading>;
  readonly h2: ByHost<H2Reading>;
  /** What the scripted upstream does at the first request of a connection. */
  script: (end: H2End) => void;
  close(): Promise<void>;
}

export async function openPlace(): Promise<Place> {
  const secret = canary('key-');
  const receivedByH1 = new ByHost<() => H1Reading>();
  const receivedByH2 = new ByHost<H2Reading>();
  const h1 = await startRaw({ hosts: H1_HOSTS }, peer => {
    peer.socket.setNoDelay(true);
    receivedByH1.add(peer.socket, () => readH1(peer.received));
    let answered = 0;
    peer.socket.on('data', () => {
      const { requests } = readH1(peer.received);
      for (; answered < requests.filter(request => request.isEnded).length; answered++)
        void peer.send('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n').catch(() => undefined);
    });
  });
  const h2 = await startRaw({ hosts: H2_HOSTS, tls: { ALPNProtocols: ['h2'] } }, ({ socket }) => {
    receivedByH2.add(socket, answering(socket));
  });
  const scripted = await startRaw({ hosts: [SCRIPTED], tls: { ALPNProtocols: ['h2'] } }, ({ socket }) => {
    const end = new H2End(socket, PREFACE.length);
    end.send(frame(SETTINGS, 0, 0));
    end.onChange = () => {
      if (end.reading.streams.size === 0) return;
      end.onChange = undefined;
      place.script(end);
    };
  });
  const gate = await startTestGate(setup(secret, h1, h2, scripted));
  const place: Place = {
    gate,
    secret,
    audit: new AuditTail(gate.files.auditFile),
    h1: receivedByH1,
    h2: receivedByH2,
    script: () => undefined,
    close: async () => {
      place.audit.close();
      await gate.stop();
      await Promise.all([h1.close(), h2.close(), scripted.close()]);
    },
  };
  return place;
}

function setup(
  secret: string,
  h1: RawUpstream,
  h2: RawUpstream,
  scripted: RawUpstream,
): Parameters<typeof startTestGate>[0] {
  const inject = [{ credential: 'api', as: 'bearer' }];
  return {
    credentials: { api: { secret, env: 'API_KEY' } },
    rules: [
      { name: 'with', hosts: [...hostsOf('h1'), ...hostsOf('h2'), SCRIPTED], inject },
      { name: 'without', hosts: [...hostsOf('open1'), ...hostsOf('open2')] },
    ],
    upstreams: {
      ...Object.fromEntries(H1_HOSTS.map(host => [host, h1])),
      ...Object.fromEntries(H2_HOSTS.map(host => [host, h2])),
      [SCRIPTED]: scripted,
    },
    // A client that takes nothing is waited for that long, and node:http2 lets one that broke a rule look like it.
    config: { limits: { body_idle: '5s' } },
  };
}

/** Answers each request once it is complete. */
function answering(socket: Socket): H2Reading {
  const end = new H2End(socket, PREFACE.length);
  const answered = new Set<number>();
  end.send(frame(SETTINGS, 0, 0));
  end.onChange = () => {
    for (const { id, isEnded } of end.reading.streams.values()) {
      if (!isEnded || answered.has(id)) continue;
      answered.add(id);
      end.send(frame(HEADERS, END_HEADERS | END_STREAM, id, OK));
    }
  };
  return end.reading;
}

/** The audit's lines by session, as they are written. */
export class AuditTail {
  /** A request that has two lines. */
  repeated: string | undefined;
  readonly #requests = new Set<string>();
  readonly #fd: number;
  readonly #chunk = Buffer.alloc(65_536);
  #at = 0;
  #rest = '';
  readonly #bySession = new Map<string, AuditEvent[]>();

  constructor(file: string) {
    this.#fd = openSync(file, 'a+');
  }

  of(session: string): readonly AuditEvent[] {
    for (;;) {
      const count = readSync(this.#fd, this.#chunk, 0, this.#chunk.length, this.#at);
      if (count === 0) break;
      this.#at += count;
      const lines = (this.#rest + this.#chunk.toString('latin1', 0, count)).split('\n');
      this.#rest = lines.pop() as string;
      for (const line of lines) this.#add(JSON.parse(line) as AuditEvent);
    }
    return this.#bySession.get(session) ?? [];
  }

  #add(event: AuditEvent): void {
    const { session, request_id: request } = event;
    if (this.#requests.has(request)) this.repeated = request;
    this.#requests.add(request);
    const known = this.#bySession.get(session ?? '');
    if (known) known.push(event);
    else this.#bySession.set(session ?? '', [event]);
  }

  /** The session's lines once there are so many, or time is up. */
  async atLeast(count: number, session: string): Promise<readonly AuditEvent[]> {
    const deadline = performance.now() + PATIENCE_MS;
    while (this.of(session).length < count && performance.now() < deadline) await delay(2);
    return this.of(session);
  }

  close(): void {
    closeSync(this.#fd);
  }
}
