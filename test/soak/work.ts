import { createHash } from 'node:crypto';
import type { OutgoingHttpHeaders } from 'node:http2';
import { collect } from '../support/h2.ts';
import { type Peer as PeerType } from '../support/peer.ts';
import { connect, header, readReply } from '../support/raw-client.ts';
import { frame, handshake, readMessage, TEXT } from '../support/websocket.ts';
import type { Sandbox } from './sandbox.ts';
import type { Secrets } from './secrets.ts';
import { download, echo, event, EVENTS, H1_HOST, H2_HOST } from './upstream.ts';
import type { Ledger } from './ledger.ts';

/** What came of one request. `error`: what the gate, or the connection, said instead of the right answer. */
export type Outcome =
  | { readonly kind: 'right' }
  | { readonly kind: 'left' }
  | { readonly kind: 'error'; readonly error: string; readonly detail: string }
  | { readonly kind: 'wrong'; readonly detail: string };

export interface Place {
  readonly sandbox: Sandbox;
  readonly ledger: Ledger;
  readonly secrets: Secrets;
}

const RIGHT: Outcome = { kind: 'right' };
const UPLOAD = Buffer.alloc(100_000, 'what a sandbox uploads, ');
const hosts = [H1_HOST, H2_HOST];
const anyHost = (): string => hosts[Math.random() < 0.5 ? 0 : 1] as string;

/** Kinds of requests, and how often each is made. */
export const WORKS: readonly { weight: number; name: string; run: (place: Place) => Promise<Outcome> }[] = [
  { weight: 30, name: 'HTTP/1.1', run: place => plain1(place, 'alpha', anyHost()) },
  { weight: 15, name: 'HTTP/2', run: place => plain2(place, 'alpha', anyHost()) },
  { weight: 8, name: 'HashiCorp', run: place => plain1(place, 'beta', anyHost()) },
  { weight: 5, name: 'HashiCorp, HTTP/2', run: place => plain2(place, 'beta', anyHost()) },
  { weight: 4, name: 'no credential', run: place => plain1(place, 'plain', anyHost()) },
  { weight: 5, name: 'gzip', run: place => plain1(place, 'gzip', anyHost()) },
  { weight: 3, name: 'download', run: place => plain1(place, 'download', anyHost()) },
  { weight: 2, name: 'download, HTTP/2', run: place => plain2(place, 'download', anyHost()) },
  { weight: 3, name: 'event stream', run: place => plain1(place, 'events', anyHost()) },
  { weight: 3, name: 'upload', run: place => upload1(place, anyHost()) },
  { weight: 2, name: 'upload, HTTP/2', run: place => upload2(place, anyHost()) },
  { weight: 4, name: 'WebSocket', run: webSocket },
  { weight: 4, name: 'path denied', run: place => denied(place, `/forbidden/`, H1_HOST, 'no_rule') },
  { weight: 3, name: 'host denied', run: place => denied(place, '/s/denied/', undefined, 'no_rule') },
  { weight: 2, name: 'stub misplaced', run: place => misused(place) },
  { weight: 2, name: 'wrong token', run: wrongToken },
  { weight: 5, name: 'client leaves', run: vanish },
  { weight: 2, name: 'upstream cuts', run: cutByUpstream },
];

interface Expected {
  readonly credential: string;
  readonly body: Buffer;
}

/** What the sandbox must see: its stub, wherever the upstream saw the credential. */
function expected(kind: string, id: string, { stubs }: Sandbox): Expected {
  if (kind === 'plain') return { credential: '', body: Buffer.from(echo(id, '')) };
  const credential = kind === 'beta' ? String(stubs['BETA']) : `Bearer ${stubs['ALPHA']}`;
  if (kind === 'download') return { credential, body: download(id, credential) };
  if (kind === 'events') {
    const events = Array.from({ length: EVENTS }, (_, n) => event(n, credential));
    return { credential, body: Buffer.from(events.join('')) };
  }
  return { credential, body: Buffer.from(echo(id, credential)) };
}

function fields(kind: string, { stubs }: Sandbox): Record<string, string> {
  if (kind === 'plain') return {};
  return kind === 'beta'
    ? { 'x-api-key': String(stubs['BETA']) }
    : { authorization: `Bearer ${stubs['ALPHA']}` };
}

function head1(method: string, path: string, host: string, more: Readonly<Record<string, string>>): string {
  const lines = Object.entries({ host, ...more }).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`;
}

interface Seen {
  readonly status: number;
  readonly reason: string | undefined;
  readonly body: Buffer;
}

function judge(kind: string, id: string, seen: Seen, { sandbox }: Place): Outcome {
  const { status, reason, body } = seen;
  if (reason !== undefined)
    return { kind: 'error', error: reason, detail: `${status} ${body.toString('latin1')}` };
  if (status === 401 && body.toString() === id)
    return { kind: 'error', error: 'upstream_401', detail: 'an old credential' };
  const wanted = expected(kind, id, sandbox);
  if (status === 200 && body.equals(wanted.body)) return RIGHT;
  const at = body.findIndex((byte, i) => byte !== wanted.body[i]);
  return {
    kind: 'wrong',
    detail: `${kind} ${id}: ${status}, ${body.length} bytes of ${wanted.body.length}, another one at ${at}: ${body.toString('latin1', Math.max(0, at - 40), at + 80)}`,
  };
}

async function plain1(place: Place, kind: string, host: string): Promise<Outcome> {
  const { sandbox, ledger } = place;
  const id = ledger.begin();
  const peer = await open(place, () => sandbox.http1(host, kind === 'download'));
  if (!('socket' in peer)) return peer;
  const before = peer.received.length;
  try {
    await peer.send(head1('GET', `/s/${kind}/${id}`, host, fields(kind, sandbox)));
    return await finish1(place, kind, id, peer, before);
  } catch (error) {
    return broken(sandbox, peer, error);
  } finally {
    if (kind === 'download') peer.cut();
  }
}

async function finish1(
  place: Place,
  kind: string,
  id: string,
  peer: PeerType,
  before: number,
): Promise<Outcome> {
  const reply = await readReply(peer);
  place.ledger.answered(id);
  const leaked = place.secrets.in(peer.received.subarray(before));
  if (leaked.length > 0)
    return { kind: 'wrong', detail: `A SECRET reached the sandbox: ${leaked.join()} in ${kind} ${id}` };
  const reason = header(reply, 'stubgate-reason');
  if (reply.status !== 200) place.sandbox.forget(peer);
  return judge(kind, id, { ...reply, reason }, place);
}

async function plain2(place: Place, kind: string, host: string): Promise<Outcome> {
  return ask2(place, kind, host, { ':path': '/s/', ...fields(kind, place.sandbox) });
}

async function ask2(
  place: Place,
  kind: string,
  host: string,
  headers: OutgoingHttpHeaders,
  body?: Buffer,
): Promise<Outcome> {
  const { sandbox, ledger, secrets } = place;
  const id = ledger.begin();
  const session = await open(place, () => sandbox.http2(host));
  if (!('request' in session)) return session;
  try {
    const stream = session.request(
      { ...headers, ':path': `/s/${kind}/${id}`, ':method': body ? 'POST' : 'GET', ':authority': host },
      { endStream: !body },
    );
    if (body) stream.end(body);
    const reply = await collect(stream);
    if (reply.status === 0 || reply.code !== 0)
      return { kind: 'error', error: 'broken', detail: `HTTP/2, ${kind}: reset with ${reply.code}` };
    ledger.answered(id);
    const leaked = secrets.in(Buffer.concat([Buffer.from(JSON.stringify(reply.raw)), reply.body]));
    if (leaked.length > 0)
      return { kind: 'wrong', detail: `A SECRET reached the sandbox: ${leaked.join()} in ${kind} ${id}` };
    const reason = reply.headers['stubgate-reason']?.toString();
    if (kind === 'upload') return judgeUpload(id, { ...reply, reason });
    return judge(kind, id, { ...reply, reason }, place);
  } catch (error) {
    return { kind: 'error', error: 'broken', detail: (error as Error).message };
  }
}

function judgeUpload(id: string, seen: Seen): Outcome {
  const sha256 = createHash('sha256').update(UPLOAD).digest('hex');
  const wanted = JSON.stringify({ id, length: UPLOAD.length, sha256 });
  if (seen.status === 200 && seen.body.toString() === wanted) return RIGHT;
  const text = `${seen.status} ${seen.body.toString('latin1')}`;
  if (seen.reason !== undefined) return { kind: 'error', error: seen.reason, detail: text };
  if (seen.status === 401) return { kind: 'error', error: 'upstream_401', detail: text };
  return { kind: 'wrong', detail: `upload ${id}: ${text}` };
}

async function upload1(place: Place, host: string): Promise<Outcome> {
  const { sandbox, ledger } = place;
  const id = ledger.begin();
  const peer = await open(place, () => sandbox.http1(host));
  if (!('socket' in peer)) return peer;
  try {
    const length = { 'content-length': `${UPLOAD.length}` };
    await peer.send(head1('POST', `/s/upload/${id}`, host, { ...fields('alpha', sandbox), ...length }));
    await peer.send(UPLOAD);
    const reply = await readReply(peer);
    ledger.answered(id);
    if (reply.status !== 200) sandbox.forget(peer);
    return judgeUpload(id, { ...reply, reason: header(reply, 'stubgate-reason') });
  } catch (error) {
    return broken(sandbox, peer, error);
  }
}

const upload2 = (place: Place, host: string): Promise<Outcome> =>
  ask2(place, 'upload', host, fields('alpha', place.sandbox), UPLOAD);

async function webSocket(place: Place): Promise<Outcome> {
  const { sandbox, ledger, secrets } = place;
  const id = ledger.begin();
  const peer = await open(place, () => sandbox.http1(H1_HOST, true));
  if (!('socket' in peer)) return peer;
  const stub = `Bearer ${sandbox.stubs['ALPHA']}`;
  try {
    await peer.send(handshake(H1_HOST, `/s/ws/${id}`, [`Authorization: ${stub}`]));
    const reply = await readReply(peer);
    if (reply.status !== 101) {
      ledger.answered(id);
      return judge('ws', id, { ...reply, reason: header(reply, 'stubgate-reason') }, place);
    }
    for (const text of ['credential', `hello ${id}`, 'x'.repeat(5000), 'credential']) {
      await peer.send(frame(TEXT, text, { mask: true }));
      const { data } = await readMessage(peer);
      const wanted = text === 'credential' ? stub : text;
      if (data.toString() !== wanted)
        return { kind: 'wrong', detail: `WebSocket ${id}: ${data.toString('latin1', 0, 200)}` };
    }
    if (secrets.in(peer.received).length > 0)
      return { kind: 'wrong', detail: `A SECRET reached the sandbox in WebSocket ${id}` };
    await peer.send(frame(8, Buffer.from([3, 0xe8]), { mask: true }));
    await readMessage(peer);
    await peer.end();
    // Its line comes at its end: a worker that is killed before that leaves none.
    ledger.answered(id);
    return RIGHT;
  } catch (error) {
    return broken(sandbox, peer, error);
  } finally {
    peer.cut();
  }
}

/** Refused as it must be is right. */
async function denied(
  place: Place,
  path: string,
  named: string | undefined,
  wanted: string,
  more: Readonly<Record<string, string>> = {},
): Promise<Outcome> {
  const { sandbox, ledger, secrets } = place;
  const id = ledger.begin();
  const host = named ?? `d${id}.denied.test`;
  const peer = await open(place, () => sandbox.http1(host, true));
  if (!('socket' in peer)) return peer;
  try {
    const at = path.includes('?') ? path.replace('?', `${id}?`) : `${path}${id}`;
    await peer.send(head1('GET', at, host, more));
    const reply = await readReply(peer);
    ledger.answered(id);
    const reason = header(reply, 'stubgate-reason');
    if (secrets.in(peer.received).length > 0)
      return { kind: 'wrong', detail: `A SECRET reached the sandbox in the refusal ${id}` };
    if (reason === wanted && reply.status === 403) return RIGHT;
    const detail = `${wanted} expected: ${reply.status} ${reply.body.toString('latin1')}`;
    return reason === undefined ? { kind: 'wrong', detail } : { kind: 'error', error: reason, detail };
  } catch (error) {
    return broken(sandbox, peer, error);
  } finally {
    peer.cut();
  }
}

function misused(place: Place): Promise<Outcome> {
  const stub = String(place.sandbox.stubs['ALPHA']);
  const inQuery = Math.random() < 0.5;
  // Such a target does not stand in the audit: its host tells which request it was.
  return inQuery
    ? denied(place, `/s/alpha/?key=${stub}`, undefined, 'stub_misplaced')
    : denied(place, '/s/alpha/', undefined, 'stub_misplaced', { 'x-other': stub });
}

async function wrongToken({ sandbox, ledger }: Place): Promise<Outcome> {
  const proxy = { ...sandbox.proxy, authorization: `Basic ${Buffer.from('s_x:none').toString('base64')}` };
  try {
    const { peer, reply } = await connect(proxy, `${H1_HOST}:443`);
    peer.cut();
    ledger.refused++;
    const reason = header(reply, 'stubgate-reason');
    if (reply.status === 407 && reason === 'unauthenticated') return RIGHT;
    return { kind: 'error', error: String(reason), detail: `407 expected, ${reply.status}` };
  } catch (error) {
    ledger.unanswered++;
    return { kind: 'error', error: 'broken', detail: (error as Error).message };
  }
}

/** Leaves in the middle; what it leaves in the audit is at most one line. */
async function vanish(place: Place): Promise<Outcome> {
  const { sandbox, ledger } = place;
  const id = ledger.begin();
  const how = Math.floor(Math.random() * 5);
  const host = anyHost();
  if (how === 4) return vanish2(place, id, host);
  const peer = await open(place, () => sandbox.http1(host, true));
  if (!('socket' in peer)) return peer;
  const more = fields('alpha', sandbox);
  if (how === 0) await peer.send(head1('GET', `/s/alpha/${id}`, host, more));
  else if (how === 1) {
    await peer.send(head1('POST', `/s/upload/${id}`, host, { ...more, 'content-length': '500000' }));
    await peer.send(UPLOAD);
  } else {
    await peer.send(head1('GET', `/s/${how === 2 ? 'download' : 'events'}/${id}`, host, more));
    await peer.bytes(1).catch(() => {});
  }
  peer.cut();
  return { kind: 'left' };
}

async function vanish2(place: Place, id: string, host: string): Promise<Outcome> {
  const session = await open(place, () => place.sandbox.http2(host));
  if (!('request' in session)) return session;
  try {
    const more = fields('alpha', place.sandbox);
    const stream = session.request({ ':path': `/s/download/${id}`, ':authority': host, ...more });
    stream.once('data', () => stream.close(8)); // CANCEL
    await collect(stream);
  } catch {
    // The connection went at the same moment.
  }
  return { kind: 'left' };
}

/** The answer must be seen to be incomplete. */
async function cutByUpstream(place: Place): Promise<Outcome> {
  const { sandbox, ledger } = place;
  const id = ledger.begin();
  const peer = await open(place, () => sandbox.http1(H1_HOST, true));
  if (!('socket' in peer)) return peer;
  try {
    await peer.send(head1('GET', `/s/cut/${id}`, H1_HOST, fields('alpha', sandbox)));
    const reply = await readReply(peer);
    ledger.answered(id);
    if (reply.status === 200) return { kind: 'wrong', detail: `a cut answer looks complete: ${id}` };
    const reason = header(reply, 'stubgate-reason');
    if (reason?.startsWith('upstream_') === true) return RIGHT;
    return { kind: 'error', error: reason ?? `upstream_${reply.status}`, detail: `in place of a cut answer` };
  } catch {
    return RIGHT;
  } finally {
    peer.cut();
  }
}

/** A connection, or why there is none. A refused CONNECT leaves a line without our number. */
async function open<T extends object>(
  { ledger }: Place,
  make: () => Promise<T>,
): Promise<T | (Outcome & { kind: 'error' })> {
  try {
    return await make();
  } catch (error) {
    const { message } = error as Error;
    const status = /CONNECT was answered (\d+)/.exec(message)?.[1];
    if (status === undefined) ledger.unanswered++;
    else ledger.refused++;
    const code = /"code":"(\w+)"/.exec(message)?.[1];
    const byStatus = status === '503' ? 'state_unavailable' : status === '407' ? 'unauthenticated' : 'broken';
    return { kind: 'error', error: code ?? byStatus, detail: message };
  }
}

function broken(sandbox: Sandbox, peer: PeerType, error: unknown): Outcome {
  sandbox.forget(peer);
  return { kind: 'error', error: 'broken', detail: (error as Error).message };
}
