import type { Socket } from 'node:net';
import { asRefusal, Refusal } from '../errors.ts';
import type { Entry } from '../flow/entry.ts';
import { requireAlive } from '../flow/judge.ts';
import type { Channel } from '../flow/target.ts';
import type { Slot } from '../limits/limiter.ts';
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
  /** No tunnel comes of it. */
  readonly abandon?: () => void;
}

/** One CONNECT of an authenticated client. Throws the Refusal to answer it with. */
export function openTunnel(rooms: ProxyRooms, tunnels: Tunnels, { x, session, establish }: Connect): void {
  const channel: Channel = { session, scheme: 'https', ...connectTarget(x) };
  rooms.flow.requireNone(x.head.bytes.toString('latin1'), session);
  const slot = rooms.flow.rooms.limits?.tunnel(session);
  if (slot instanceof Promise) void openLater(rooms, tunnels, { x, session, establish }, channel, slot);
  else open(rooms, tunnels, held({ x, session, establish }, slot), channel);
}

/** With a tunnel that other gates must be asked for. */
async function openLater(
  rooms: ProxyRooms,
  tunnels: Tunnels,
  asked: Connect,
  channel: Channel,
  slot: Promise<Slot>,
): Promise<void> {
  const { x, session } = asked;
  try {
    const free = await slot;
    const connect = held(asked, free);
    try {
      if (x.done) throw new Refusal('request_timeout');
      requireAlive(session, Date.now());
      open(rooms, tunnels, connect, channel);
    } catch (thrown) {
      free();
      throw thrown;
    }
  } catch (thrown) {
    rooms.flow.refuse(x, rooms.flow.entry(x, { session }), asRefusal(thrown));
  }
}

/** A CONNECT whose tunnel is counted as open until its connection is over, or it came to nothing. */
function held({ x, session, establish }: Connect, free: Slot | undefined): Connect {
  if (!free) return { x, session, establish };
  return {
    x,
    session,
    establish: () => {
      const socket = establish();
      if (socket.destroyed) free();
      else socket.once('close', free);
      return socket;
    },
    abandon: free,
  };
}

function open(rooms: ProxyRooms, tunnels: Tunnels, connect: Connect, channel: Channel): void {
  try {
    begin(rooms, tunnels, connect, channel);
  } catch (thrown) {
    connect.abandon?.();
    throw thrown;
  }
}

function begin(rooms: ProxyRooms, tunnels: Tunnels, connect: Connect, channel: Channel): void {
  const { session, establish } = connect;
  requireRoom(rooms, tunnels, session);
  const admission = rooms.flow.admit(channel);
  if (admission.verdict === 'tunnel') {
    void passUnread(rooms, tunnels, connect, channel, admission.rule);
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

function requireRoom({ limits }: ProxyRooms, tunnels: Tunnels, { session }: Session): void {
  if (tunnels.count(session) < limits.tunnels) return;
  throw new Refusal('rate_limited', {
    message: 'The session has too many open tunnels',
    hint: 'Close some, then try again',
  });
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
  rooms: ProxyRooms,
  tunnels: Tunnels,
  connect: Connect,
  channel: Channel,
  rule: Rule,
): Promise<void> {
  const { flow, limits } = rooms;
  const { x, session, abandon } = connect;
  const entry: Entry = flow.entry(x, channel);
  entry.event.rule = rule.name;
  try {
    const { audit, limits: budgets } = flow.rooms;
    audit.assertWritable();
    await budgets?.arrive(session);
    await budgets?.begin(session, [], 0);
    const upstream = await flow.rooms.upstream.connectRaw(channel);
    const client = handOver(rooms, tunnels, connect, upstream);
    entry.event.verdict = 'tunnel';
    entry.event.status = 200;
    entry.firstByte();
    tunnels.add(new RawTunnel(tunnels, client, upstream, entry, limits.idleMs, budgets?.meter(session, [])));
  } catch (thrown) {
    abandon?.();
    flow.refuse(x, entry, asRefusal(thrown));
  }
}

/** The client's socket, unless something happened while the upstream was dialled: then nobody keeps that connection. */
function handOver(
  rooms: ProxyRooms,
  tunnels: Tunnels,
  { x, session, establish }: Connect,
  upstream: Socket,
): Socket {
  try {
    if (x.done) throw new Refusal('request_timeout');
    requireAlive(session, Date.now());
    // Others may have been opened meanwhile.
    requireRoom(rooms, tunnels, session);
    return establish();
  } catch (thrown) {
    upstream.destroy();
    throw thrown;
  }
}
