import { closing, type Sandbox, sandbox } from './scene.ts';
import { canary } from '../support/canary.ts';
import type { GateSetup } from '../support/setup.ts';
import type { Peer } from '../support/peer.ts';
import { openTls } from '../support/raw-client.ts';
import { type RawUpstream, startRaw } from '../support/upstream.ts';
import { accept, handshake } from '../support/websocket.ts';

export const HOST = 'chat.corp.test';

export interface ChatScene extends Sandbox {
  readonly upstream: RawUpstream;
  readonly secret: string;
  readonly stub: string;
  readonly client: Peer;
}

export interface Chat extends ChatScene {
  readonly server: Peer;
  /** The handshake as the upstream received it. */
  readonly asked: string;
}

const BEARER = [{ credential: 'api', as: 'bearer' }];

/** A gate in front of an upstream made of bytes, and a tunnel to it. */
export async function chatScene(
  inject: readonly Readonly<Record<string, unknown>>[] = BEARER,
  config: GateSetup['config'] = {},
): Promise<ChatScene> {
  const secret = canary('key-');
  const upstream = closing(await startRaw({ hosts: [HOST] }));
  const box = await sandbox({
    credentials: { api: { secret, env: 'API_KEY' } },
    rules: [{ name: 'chat', hosts: [HOST], inject }],
    upstreams: { [HOST]: upstream },
    config,
  });
  const client = await openTls(box.session.proxy, box.gate.ca, HOST);
  return { ...box, upstream, secret, stub: box.session.stubs['API_KEY'] ?? '', client };
}

/** An open WebSocket. */
export async function chat(
  inject: readonly Readonly<Record<string, unknown>>[] = BEARER,
  config: GateSetup['config'] = {},
): Promise<Chat> {
  const scene = await chatScene(inject, config);
  const { upstream, client, stub } = scene;
  const isBearer = inject.some(entry => entry['as'] === 'bearer');
  await client.send(handshake(HOST, '/chat', isBearer ? [`Authorization: Bearer ${stub}`] : []));
  const server = await upstream.next();
  const asked = await accept(server);
  await client.head();
  return { ...scene, server, asked };
}
