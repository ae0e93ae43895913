import type { Socket } from 'node:net';
import { asRefusal, Refusal } from '../errors.ts';
import type { Entry } from '../flow/entry.ts';
import { requireAlive } from '../flow/judge.ts';
import type { Channel } from '../flow/target.ts';
import { parseAuthority } from '../policy/host.ts';
import type { Rule, Session } from '../types.ts';
import { get } from '../fields.ts';
import type { Exchange } from '../wire/server.ts';
import { InterceptedTunnel } from './intercepted.ts';
import type { ProxyRooms } from './rooms.ts';
import { RawTunnel } from './raw.ts';
import type { Tunnels } from './tunnels.ts';

/** A CONNECT that may become a tunnel. */
export interface Connect {
  readonly x: Exchange;
  readonly session: Session;
  /** Takes the socket over from the codec, and tells the client to go on. Throws for bytes that came too early. */
  readonly establish: () => Socket;
}

/** One CONNECT of an authenticated client. Throws the Refusal to answer it with. */
export function openTunnel(rooms: ProxyRooms, tunnels: Tunnels, { x, session, establish }: Connect): void {
  const channel: Channel = { session, scheme: 'https', ...connectTarget(x) };
  rooms.flow.requireNone(x.head.bytes.toString('latin1'), session);
  if (tunnels.count(session.session) >= rooms.limits.tunnels) {
    throw new Refusal('rate_limited', {
      message: 'The session has too many open tunnels',
      hint: 'Close some, then try again',
    });
  }
  const admission = rooms.flow.admit(channel);
  if (admission.verdict === 'tunnel') {
    void passUnread(rooms, tunnels, { x, session, establish }, channel, admission.rule);
    return;
  }
  const denied =
    admission.verdict === 'deny' && rooms.flow.admit({ ...channel, scheme: 'http' }).verdict === 'deny';
  if (denied && tunnels.denied(session.session) >= rooms.limits.deniedTunnels) {
    throw new Refusal(admission.reason, {
      message: `No rule allows CONNECT ${channel.host}:${channel.port}`,
    });
  }
  tunnels.add(new InterceptedTunnel(rooms, tunnels, establish(), channel, denied));
}

function connectTarget(x: Exchange): Pick<Channel, 'host' | 'port'> {
  const authority = parseAuthority(x.head.target);
  if (!authority) throw new Refusal('malformed_request', { message: 'CONNECT needs host:port' });
  const written = get(x.head.headers, 'host');
  const host = written === undefined ? authority : parseAuthority(written, authority.port);
  if (!host || host.host !== authority.host || host.port !== authority.port)
    throw new Refusal('host_mismatch');
  return authority;
}

async function passUnread(
  { flow, limits }: ProxyRooms,
  tunnels: Tunnels,
  { x, session, establish }: Connect,
  channel: Channel,
  rule: Rule,
): Promise<void> {
  const entry: Entry = flow.entry(x, channel);
  entry.event.rule = rule.name;
  try {
    flow.rooms.audit.assertWritable();
    const upstream = await flow.rooms.upstream.connectRaw(channel);
    const client = handOver(x, session, establish, upstream);
    entry.event.verdict = 'tunnel';
    entry.event.status = 200;
    entry.firstByte();
    tunnels.add(new RawTunnel(tunnels, client, upstream, entry, limits.idleMs));
  } catch (thrown) {
    flow.refuse(x, entry, asRefusal(thrown));
  }
}

/** The client's socket, unless something happened while the upstream was dialled: then nobody keeps that connection. */
function handOver(x: Exchange, session: Session, establish: () => Socket, upstream: Socket): Socket {
  try {
    if (x.done) throw new Refusal('request_timeout');
    requireAlive(session, Date.now());
    return establish();
  } catch (thrown) {
    upstream.destroy();
    throw thrown;
  }
}
