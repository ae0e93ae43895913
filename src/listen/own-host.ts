import { Buffer } from 'node:buffer';
import { asRefusal, Refusal } from '../errors.ts';
import { has } from '../fields.ts';
import { requireAlive } from '../flow/judge.ts';
import { type Channel, requestTarget } from '../flow/target.ts';
import type { Session } from '../types.ts';
import type { Exchange } from '../wire/server.ts';
import type { ProxyRooms } from './rooms.ts';

/**
 * The name by which a sandbox asks the gate about its own session, over plain http and through the proxy only. It never
 * resolves (RFC 6761, section 6.4), so a client that is not wired to a gate sends nothing to anybody.
 */
const OWN_HOST = 'stubgate.invalid';

export const isOwn = ({ host, port }: Channel): boolean => host === OWN_HOST && port === 80;

/** What can be asked for: nothing that the session does not hold already, and nothing that changes anything. */
const PAGES: Readonly<
  Record<string, (rooms: ProxyRooms, session: Session) => readonly [type: string, body: string]>
> = {
  '/session': (rooms, session) => ['application/json', `${JSON.stringify(describe(rooms, session))}\n`],
  '/env': (rooms, session) => ['text/plain; charset=utf-8', shellLines(rooms.stubsOf(session))],
  '/ca.pem': rooms => ['application/x-pem-file', rooms.caPem],
};
const HINT = `Ask for ${Object.keys(PAGES).join(', ')}`;

/** One answer of the gate's own, counted and audited like any. Never rejects. */
export async function serveOwn(
  rooms: ProxyRooms,
  x: Exchange,
  channel: Channel,
  originForm: string,
): Promise<void> {
  const { flow } = rooms;
  const entry = flow.entry(x, channel, originForm);
  try {
    await flow.rooms.limits?.arrive(channel.session);
    const [type, text] = read(rooms, x, channel, originForm);
    const body = Buffer.from(text);
    Object.assign(entry.event, { verdict: 'allow', status: 200 });
    entry.write(x.bytesIn, x.bytesOut + body.length);
    const headers = ['content-type', type, 'cache-control', 'no-store', 'x-content-type-options', 'nosniff'];
    const sink = x.respond({ status: 200, reason: 'OK', headers, length: body.length });
    sink.write(body);
    sink.end([]);
  } catch (thrown) {
    flow.refuse(x, entry, asRefusal(thrown));
  }
}

/** The page that is asked for. Throws the Refusal to answer with. */
function read(
  rooms: ProxyRooms,
  { head }: Exchange,
  channel: Channel,
  originForm: string,
): readonly [type: string, body: string] {
  const { session } = channel;
  requireAlive(session, Date.now());
  requestTarget(head, channel, originForm);
  const page = Object.hasOwn(PAGES, originForm) ? PAGES[originForm] : undefined;
  if (!page) throw new Refusal('no_rule', { message: 'The gate has no such page', hint: HINT });
  if (head.method !== 'GET')
    throw new Refusal('no_rule', { message: 'The gate’s pages are read with GET', hint: HINT });
  // A page that a browser in the sandbox shows must not read what the sandbox may.
  if (has(head.headers, 'origin') || has(head.headers, 'sec-fetch-site'))
    throw new Refusal('no_rule', { message: 'The gate’s pages are not for web pages', hint: HINT });
  if (head.length !== 0) throw new Refusal('malformed_request', { message: 'GET with a body' });
  rooms.flow.rooms.audit.assertWritable();
  return page(rooms, session);
}

function describe({ stubsOf, caPem }: ProxyRooms, session: Session): Record<string, unknown> {
  return {
    id: session.session,
    profile: session.profile,
    sub: session.sub ?? null,
    act: session.act ?? null,
    labels: session.labels,
    expires_at: new Date(session.expiresAt).toISOString(),
    env: stubsOf(session),
    ca: caPem,
  };
}

/** `export NAME='stub'`: for eval in a shell. */
function shellLines(variables: Readonly<Record<string, string>>): string {
  return Object.entries(variables)
    .map(([name, value]) => `export ${name}='${value.replaceAll("'", `'\\''`)}'\n`)
    .join('');
}
