import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Buffer } from 'node:buffer';
import type { Compiled } from '../config/types.ts';
import type { Log } from '../types.ts';
import { type Canary, canariesFor } from './canary.ts';
import type { Seen } from './answer.ts';
import type { Kind } from './probe.ts';
import { asText, type Received } from './reflection.ts';
import { PROBE_FIELD } from './reflector.ts';
import { across, type Leak } from './report.ts';
import type { Aimed } from './requests.ts';
import type { Sandbox } from './sandbox.ts';
import { type Found, Needles, search } from './search.ts';
import { type Bench, openStand, type Protocol, type Stand } from './stand.ts';
import type { Task } from './trial.ts';

const PROTOCOLS: readonly Protocol[] = ['HTTP/1.1', 'HTTP/2'];

/** The gates, the sessions on them, and the canaries to look for. */
export class Proof {
  readonly canaries: readonly Canary[];
  readonly needles: Needles;
  readonly matrix = new Map<Kind, Map<string, number>>();
  readonly #compiled: Compiled;
  readonly #stands = new Map<Protocol, Stand>();
  readonly #benches = new Map<string, Promise<Bench>>();
  /** What the gates logged. */
  readonly #logged: string[] = [];

  constructor(compiled: Compiled) {
    this.#compiled = compiled;
    this.canaries = canariesFor(compiled.credentials.values());
    this.needles = new Needles(this.canaries);
  }

  async open(): Promise<void> {
    const log = logInto(this.#logged);
    for (const protocol of PROTOCOLS)
      this.#stands.set(
        protocol,
        await openStand({ compiled: this.#compiled, canaries: this.canaries, protocol, log }),
      );
  }

  async close(): Promise<void> {
    for (const stand of this.#stands.values()) await stand.close();
  }

  bench(profile: string, upstream: Protocol): Promise<Bench> {
    const key = `${upstream} ${profile}`;
    const known = this.#benches.get(key);
    if (known) return known;
    const stand = this.#stands.get(upstream) as Stand;
    const bench = stand.open(profile).then(opened => ({ stand, ...opened }));
    this.#benches.set(key, bench);
    return bench;
  }

  /** Runs one probe, and notes in its rule's report what came of it. */
  async attempt(task: Task): Promise<void> {
    const { trial, probe, client, upstream } = task;
    const { report, injection, profile } = trial;
    const protocols = across(client, upstream);
    const name = `${probe.kind}: ${probe.name}`;
    const notRun = (why: string): void => void report.notRun.push({ probe: name, protocols, why });
    report.probes++;
    count(this.matrix, probe.kind, protocols);
    const { stand, session, sandbox } = await this.bench(profile.name, upstream);
    const aimed = task.aim({
      stub: session.stubs.get(injection?.credential ?? '') ?? '',
      ids: stand.gate.stubIds,
    });
    if (!aimed) return notRun('no request with the stub in its place reaches the rule');
    const held = this.canaries.filter(({ credential }) => profile.credentials.includes(credential));
    const knows = (received: Received): Received => (injection ? received : knowing(received, held));
    const id = stand.reflector.expect({
      answer: received => probe.answer(knows(received)),
      ...(probe.messages && { messages: (received: Received) => probe.messages?.(knows(received)) ?? [] }),
    });
    let seen: Seen;
    try {
      seen = await ask(
        sandbox,
        client,
        withFields(aimed, [[PROBE_FIELD, id], ...(probe.fields ?? [])]),
        probe.answers,
      );
    } catch (thrown) {
      return notRun((thrown as Error).message);
    }
    const received = stand.reflector.take(id);
    if (!received) return notRun(`the gate refused it: ${seen.reason ?? (seen.status || 'no answer')}`);
    if (
      injection &&
      !search(Buffer.from(asText(received), 'latin1'), this.needles).some(
        found => found.credential === injection.credential,
      )
    )
      return notRun('the upstream did not receive the credential');
    for (const leak of this.look(seen))
      report.leaks.push({ ...leak, kind: probe.kind, probe: probe.name, protocols });
  }

  look({ places }: Pick<Seen, 'places'>): Pick<Leak, 'credential' | 'place' | 'spelling'>[] {
    return [...places].flatMap(([place, bytes]) => {
      const found = search(bytes, this.needles);
      if (found.length === 0) return [];
      return isFields(place)
        ? inFields(place, bytes, this.needles, found)
        : found.map(one => ({ ...one, place }));
    });
  }

  /** In what the gates themselves wrote: logs, audit, metrics, files. */
  searchElsewhere(): Leak[] {
    const places = new Map([['the log', Buffer.from(this.#logged.join('\n'))]]);
    for (const [protocol, { gate, dir }] of this.#stands) {
      places.set(
        `the metrics (${protocol})`,
        Buffer.from(gate.metrics.text({ sessions: 0, tunnels: 0 } as never)),
      );
      for (const name of readdirSync(dir, { recursive: true, encoding: 'utf8' })) {
        const file = join(dir, name);
        if (statSync(file).isFile()) places.set(`the file ${name} (${protocol})`, readFileSync(file));
      }
    }
    return this.look({ places }).map(leak => ({
      ...leak,
      kind: 'elsewhere' as const,
      probe: 'all',
      protocols: '',
    }));
  }
}

function ask(
  sandbox: Sandbox,
  client: Protocol,
  { request, message }: Aimed,
  answers: number | undefined,
): Promise<Seen> {
  if (answers !== undefined) return sandbox.webSocket(request, message, message ? 2 * answers : answers);
  return client === 'HTTP/2' ? sandbox.http2(request) : sandbox.http1(request);
}

const isFields = (place: string): boolean => place === 'headers' || place === 'trailers';

/** With the name of the field, unless it stands across some of them. */
function inFields(
  place: string,
  bytes: Buffer,
  needles: Needles,
  found: readonly Found[],
): Pick<Leak, 'credential' | 'place' | 'spelling'>[] {
  const exact = bytes
    .toString('latin1')
    .split(/\r?\n/)
    .flatMap(line => {
      const name = `${place.slice(0, -1)} ${line.split(':', line.startsWith(':') ? 2 : 1).join(':')}`;
      return search(Buffer.from(line, 'latin1'), needles).map(one => ({ ...one, place: name }));
    });
  const named = new Set(exact.map(({ credential }) => credential));
  return [...exact, ...found.filter(one => !named.has(one.credential)).map(one => ({ ...one, place }))];
}

function withFields({ request, message }: Aimed, fields: readonly (readonly [string, string])[]): Aimed {
  const added = new Set(fields.map(([name]) => name.toLowerCase()));
  const kept = request.headers.filter(([name]) => !added.has(name.toLowerCase()));
  return { request: { ...request, headers: [...kept, ...fields] }, message };
}

/** What an upstream that has seen the secrets elsewhere could give back. */
function knowing(received: Received, canaries: readonly Canary[]): Received {
  const known = canaries.map(({ value }, i) => [`x-known-${i}`, value] as const);
  return { ...received, headers: [...received.headers, ...known] };
}

function count(matrix: Map<Kind, Map<string, number>>, kind: Kind, protocols: string): void {
  const row = matrix.get(kind) ?? new Map<string, number>();
  row.set(protocols, (row.get(protocols) ?? 0) + 1);
  matrix.set(kind, row);
}

function logInto(lines: string[]): Log {
  const note = (message: string, fields?: object): void =>
    void lines.push(`${message} ${JSON.stringify(fields ?? {}, errors)}`);
  return { debug: note, info: note, warn: note, error: note };
}

/** Errors in full: whatever of one could be printed. */
const errors = (_: string, value: unknown): unknown =>
  value instanceof Error
    ? {
        ...Object.fromEntries(Object.entries(value)),
        message: value.message,
        stack: value.stack,
        cause: value.cause,
      }
    : value;
