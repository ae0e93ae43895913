import { once } from 'node:events';
import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { onTestFinished } from 'vitest';
import { canary } from '../support/canary.ts';
import { startTestGate, type TestGate } from '../support/gate.ts';
import { openH2, startH2 } from '../support/h2.ts';
import { Peer } from '../support/peer.ts';
import { openTls } from '../support/raw-client.ts';
import type { GateSetup } from '../support/setup.ts';
import { startRaw, type Upstream } from '../support/upstream.ts';
import { acceptOf, handshake } from '../support/websocket.ts';
import type { Sandbox } from './scene.ts';
import { closing, enter } from './scene.ts';

export const HOST = 'chat.corp.test';

export type Version = 'h1' | 'h2';
export type Legs = readonly [client: Version, upstream: Version];

/** All pairs of what a client speaks and what its upstream does. */
export const LEGS: readonly Legs[] = [
  ['h1', 'h1'],
  ['h1', 'h2'],
  ['h2', 'h1'],
  ['h2', 'h2'],
];

/** A handshake as an upstream received it. */
export interface Asked {
  /** name, value, …; in HTTP/1.1 behind the request line as `:line`. */
  readonly fields: readonly string[];
  readonly peer: Peer;
  /** Accepts it. `behind`: bytes that leave with the answer. */
  accept(more?: readonly string[], behind?: Buffer): Promise<void>;
  /** Answers with another status than that. */
  refuse(status: number, headers?: Readonly<Record<string, string>>, body?: string): Promise<void>;
}

export interface ChatUpstream extends Upstream {
  next(): Promise<Asked>;
}

/** What the client was answered. */
export interface Answered {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly peer: Peer;
}

/** A stream of HTTP/2 as a raw connection. */
function peerOf(stream: Duplex): Peer {
  return new Peer(stream as Socket);
}

function h1Asked(peer: Peer, head: string, keep: (peer: Peer) => void): Asked {
  const [line = '', ...lines] = head.trimEnd().split('\r\n');
  return {
    peer,
    fields: [':line', line, ...lines.flatMap(one => one.split(': '))],
    accept: async (more = [], behind = Buffer.alloc(0)) => {
      const key = /^sec-websocket-key: (.*)$/im.exec(head)?.[1]?.trim() ?? '';
      const lines101 = [
        'HTTP/1.1 101 Switching Protocols',
        'Upgrade: websocket',
        'Connection: Upgrade',
        `Sec-WebSocket-Accept: ${acceptOf(key)}`,
        ...more,
      ];
      await peer.send(Buffer.concat([Buffer.from(`${lines101.join('\r\n')}\r\n\r\n`, 'latin1'), behind]));
    },
    refuse: async (status, headers = {}, body = '') => {
      const fields = { ...headers, 'content-length': `${body.length}` };
      const text = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
      keep(peer);
      await peer.send(`HTTP/1.1 ${status} No\r\n${text.join('')}\r\n${body}`);
    },
  };
}

function h2Asked(stream: ServerHttp2Stream, raw: readonly string[]): Asked {
  const peer = peerOf(stream);
  return {
    peer,
    fields: raw,
    accept: async (more = [], behind) => {
      const headers = Object.fromEntries(more.map(line => line.split(': ') as [string, string]));
      stream.respond({ ':status': 200, ...headers });
      if (behind) await peer.send(behind);
    },
    refuse: async (status, headers = {}, body = '') => {
      stream.respond({ ':status': status, ...headers });
      stream.end(body);
      await once(stream, 'close');
    },
  };
}

/** An upstream that speaks one version of HTTP and no other. */
export async function chatUpstream(version: Version): Promise<ChatUpstream> {
  if (version === 'h1') {
    const raw = await startRaw({ hosts: [HOST] });
    // Refused on it, the next handshake comes on the same connection.
    let kept: Peer | undefined;
    return {
      ...raw,
      next: async () => {
        const peer = kept ?? (await raw.next());
        kept = undefined;
        return h1Asked(peer, await peer.head(), one => (kept = one));
      },
    };
  }
  const asked: Asked[] = [];
  const waiting: ((one: Asked) => void)[] = [];
  const settings = { enableConnectProtocol: true };
  const h2 = await startH2({ hosts: [HOST], settings }, (stream, { raw }) => {
    const one = h2Asked(stream, raw);
    const taker = waiting.shift();
    if (taker) taker(one);
    else asked.push(one);
  });
  const next = (): Promise<Asked> => {
    const one = asked.shift();
    return one ? Promise.resolve(one) : new Promise(resolve => waiting.push(resolve));
  };
  return { ...h2, next };
}

/** A client that has sent its handshake. */
export interface Asking {
  /** The answer's head. */
  answered(): Promise<Answered>;
  /** Sends bytes behind the handshake, whether it was answered or not. */
  readonly peer: Peer;
}

/** Sends a handshake, and `early` with it. `more`: lines of fields. */
export async function shakeHands(
  version: Version,
  { gate, session }: Sandbox,
  path: string,
  more: readonly string[] = [],
  early: Buffer = Buffer.alloc(0),
): Promise<Asking> {
  if (version === 'h1') {
    const peer = await openTls(session.proxy, gate.ca, HOST);
    await peer.send(Buffer.concat([Buffer.from(handshake(HOST, path, more)), early]));
    return {
      peer,
      answered: async () => {
        const [line = '', ...lines] = (await peer.head()).trimEnd().split('\r\n');
        const headers = lines.map(one => one.split(': ') as [string, string]);
        const status = Number(line.split(' ')[1]);
        return { peer, status, headers: Object.fromEntries(headers.map(([n, v]) => [n.toLowerCase(), v])) };
      },
    };
  }
  const client = await openH2(session.proxy, gate.ca, HOST);
  onTestFinished(() => client.destroy());
  while (client.remoteSettings?.enableConnectProtocol !== true) await once(client, 'remoteSettings');
  const fields = more.map(line => line.split(': ') as [string, string]);
  const stream = client.request(
    { ...connectHead(path), ...Object.fromEntries(fields) },
    { endStream: false },
  );
  const answer = once(stream, 'response') as Promise<[IncomingHttpHeaders & { ':status': number }]>;
  answer.catch(() => undefined);
  const peer = peerOf(stream);
  if (early.length > 0) await peer.send(early);
  return {
    peer,
    answered: async () => {
      const [{ ':status': status, ...headers }] = await answer;
      return { peer, status, headers: { ...headers } as Record<string, string> };
    },
  };
}

/** The extended CONNECT of a WebSocket (RFC 8441, section 5.1). */
export function connectHead(path: string): OutgoingHttpHeaders {
  return {
    ':method': 'CONNECT',
    ':protocol': 'websocket',
    ':scheme': 'https',
    ':authority': HOST,
    ':path': path,
    'sec-websocket-version': '13',
  };
}

export interface LegScene extends Sandbox {
  readonly upstream: ChatUpstream;
  readonly secret: string;
  readonly stub: string;
}

const BEARER = [{ credential: 'api', as: 'bearer' }];

export async function legScene(
  upstreamVersion: Version,
  inject: readonly Readonly<Record<string, unknown>>[] = BEARER,
  config: GateSetup['config'] = {},
  start: (setup: GateSetup) => Promise<TestGate> = startTestGate,
): Promise<LegScene> {
  const secret = canary('key-');
  const upstream = closing(await chatUpstream(upstreamVersion));
  const gate = await start({
    credentials: { api: { secret, env: 'API_KEY' } },
    rules: [{ name: 'chat', hosts: [HOST], inject }],
    upstreams: { [HOST]: upstream },
    config,
  });
  const box = await enter(gate);
  return { ...box, upstream, secret, stub: box.session.stubs['API_KEY'] ?? '' };
}

export interface LegChat extends LegScene {
  readonly client: Peer;
  readonly server: Peer;
}

/** An open WebSocket. */
export async function legChat(
  [client, upstreamVersion]: Legs,
  inject: readonly Readonly<Record<string, unknown>>[] = BEARER,
  config: GateSetup['config'] = {},
  start: (setup: GateSetup) => Promise<TestGate> = startTestGate,
): Promise<LegChat> {
  const scene = await legScene(upstreamVersion, inject, config, start);
  const isBearer = inject.some(entry => entry['as'] === 'bearer');
  const more = isBearer ? [`authorization: Bearer ${scene.stub}`] : [];
  const asking = await shakeHands(client, scene, '/chat', more);
  const asked = await scene.upstream.next();
  await asked.accept();
  const { status } = await asking.answered();
  if (status !== (client === 'h1' ? 101 : 200)) throw new Error(`the handshake was answered ${status}`);
  return { ...scene, client: asking.peer, server: asked.peer };
}
