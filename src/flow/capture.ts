import { Buffer } from 'node:buffer';
import { type Found, handouts, quietInHead, replaced } from '../capture/read.ts';
import type { Wanted } from '../capture/captures.ts';
import { Refusal } from '../errors.ts';
import { Names } from '../fields.ts';
import { standsFor } from '../inject/stands-for.ts';
import { codings, decodeWhole, Scrubber } from '../scrub/index.ts';
import { BodyFault, type Capture, type ReadAnswer, type ResponseHead, type Source } from '../types.ts';
import { endToEnd } from '../wire/headers.ts';
import { ClientLeft, type Reply } from './ask.ts';
import { type Job, requireAlive } from './judge.ts';
import type { Rooms } from './rooms.ts';
import { Whole } from './whole.ts';

/** Of an answer that may hand out a secret, decoded or not: bytes. */
const LIMIT = 256 * 1024;
/** What describes the bytes as the upstream sent them. */
const OF_BODY = new Names(
  'content-encoding',
  'content-md5',
  'digest',
  'content-digest',
  'repr-digest',
  'etag',
  'last-modified',
  'accept-ranges',
);

/** What other gates captured for the session, as far as the request may depend on it. */
export function captureLoad(
  rooms: Rooms,
  { profile, rule, session, stubs, x }: Job,
): Promise<void> | undefined {
  if (!profile.captures) return undefined;
  const mayHoldStub = rule.injections.some(
    ({ credential, placement }) =>
      !session.stubs.has(credential) && (stubs > 0 || (placement.body && x.head.length !== 0)),
  );
  return rooms.captures.load(session, mayHoldStub);
}

/**
 * Takes what the answer hands out from it: whole, before a byte of it goes on, and looked for from then on in all that
 * goes to the session. Rejects with what the sandbox is told instead of an answer that cannot be read.
 */
export async function captured(
  rooms: Rooms,
  job: Job,
  reply: Reply,
  captures: readonly Capture[],
): Promise<Reply> {
  // Of a cookie nothing is in the body, which streams as ever.
  const isInHead = quietInHead(captures).length === captures.length;
  const answer = isInHead
    ? { headers: reply.head.headers, body: Buffer.alloc(0) }
    : await received(job, reply);
  requireAlive(job.session, Date.now());
  const found = read(job, captures, answer, reply.head.status).filter(one => isNew(rooms, job, one));
  if (isInHead && found.length === 0) return reply;
  const stubs = await rooms.captures.take(
    job.session,
    found.map(one => wanted(rooms, one)),
  );
  if (found.length > 0)
    job.entry.event.captured = found.map(({ capture: { credential, place } }) => ({
      credential,
      at: place.slot,
    }));
  const handed = found.map(({ handout }, i) => [handout, stubs[i] as string] as const);
  return withAnswer(rooms, job, reply, replaced(answer, handed, rooms.stubs), isInHead);
}

/** The shorter of the two times that its rule and its answer give it. */
function wanted({ shapeOf }: Rooms, { capture, handout }: Found): Wanted {
  const { credential, ttlMs } = capture;
  const { value, lifeMs = ttlMs } = handout;
  const life = ttlMs === undefined || lifeMs === undefined ? lifeMs : Math.min(ttlMs, lifeMs);
  return { credential, shape: shapeOf(credential), value, ttlMs: life };
}

/** Decoded; without the fields that were true of what was sent. */
async function received(job: Job, { head, body, discard }: Reply): Promise<ReadAnswer> {
  const { x } = job;
  const headers = endToEnd(head.headers, OF_BODY);
  // What it would say of a body is kept: nobody sees one.
  if (x.head.method === 'HEAD' || head.status === 204 || head.status === 304)
    return { headers: endToEnd(head.headers), body: Buffer.alloc(0) };
  const applied = codings(head.headers);
  if (!applied) throw new Refusal('undecodable_response');
  const tooLarge = (): Refusal => failed(job, `is larger than the ${LIMIT} bytes that can be captured from`);
  if (head.length > LIMIT) throw tooLarge();
  const whole = await new Promise<Buffer>((resolve, reject) => {
    const abort = (cause: Error): void => {
      discard();
      reject(cause instanceof Refusal ? cause : new ClientLeft(cause));
    };
    x.onAbort = abort;
    if (x.done) reject(new ClientLeft());
    // Trailers end here: nothing says what they hold.
    body.pipe(new Whole(LIMIT, { tooLarge, end: resolve, fail: reject }));
  });
  const decoded = decodeWhole(applied, whole, LIMIT);
  if (!decoded) throw new Refusal('undecodable_response');
  return { headers, body: decoded };
}

function read(job: Job, captures: readonly Capture[], answer: ReadAnswer, status: number): Found[] {
  try {
    return handouts(captures, answer, status);
  } catch (thrown) {
    if (!(thrown instanceof BodyFault)) throw thrown;
    throw failed(job, thrown.message);
  }
}

function failed({ rule }: Job, why: string): Refusal {
  const message = `The response ${why}`;
  return new Refusal('capture_failed', { message, cause: new Error(`rule "${rule.name}": ${message}`) });
}

/**
 * False for a secret that is known already: the scrub puts its own stub there. One that is made of a known secret, or of
 * a stub, is somebody's try to get it a stub for other hosts.
 */
function isNew({ keyring, stubs }: Rooms, job: Job, { capture, handout }: Found): boolean {
  const { profile, session } = job;
  const own = (session.captured?.known() ?? []).filter(({ name }) =>
    name.startsWith(`${capture.credential}:`),
  );
  const patterns = keyring.patterns(profile, session);
  let known = 0;
  for (const { text } of handout.spots) {
    if (stubs.count(text) > 0) throw failed(job, 'hands out a stub');
    const match = patterns.find(Buffer.from(text));
    if (match && match.length !== text.length)
      throw failed(job, 'hands out a secret that is made of another one');
    const [name] = match?.name.split('#') ?? [];
    if (match && !own.some(secret => secret.name === name)) known++;
  }
  if (known > 0 && known < handout.spots.length) throw failed(job, 'hands out a part of a known secret');
  return known === 0;
}

/** The reply with another answer in it, or another head, which is searched for what is known by now. */
function withAnswer(
  { keyring, stubs }: Rooms,
  { x, profile, session }: Job,
  reply: Reply,
  { headers, body }: ReadAnswer,
  isInHead: boolean,
): Reply {
  const { status, reason } = reply.head;
  const isBodyless = x.head.method === 'HEAD' || status === 204 || status === 304;
  const bytes = Buffer.from([reason, ...headers].join('\n'), 'latin1');
  const patterns = keyring.patterns(profile, session);
  const head: ResponseHead = {
    status,
    reason,
    headers,
    bytes,
    length: isInHead ? reply.head.length : isBodyless ? 0 : body.length,
    text: '',
    starts: [],
  };
  const present = () => keyring.patterns(profile, session);
  const scrubber = new Scrubber(patterns, name => standsFor(session, name, stubs), present);
  const source: Source = {
    take: () => body,
    pipe: sink => {
      sink.write(body);
      sink.end([]);
    },
  };
  return { ...reply, head, body: isInHead ? reply.body : source, patterns, scrubber };
}
