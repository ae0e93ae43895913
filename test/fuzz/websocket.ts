import type { Filter } from '../../src/wire/websocket/relay.ts';
import { Relay } from '../../src/wire/websocket/relay.ts';
import { isCloseCode } from '../../src/wire/websocket/protocol.ts';
import type { Sender } from '../../src/wire/websocket/reader.ts';
import { BINARY, CLOSE, close, frame, PING, PONG, TEXT } from '../support/websocket.ts';
import { FakeSocket } from '../wire/fake-socket.ts';
import { type Reading, readFrames } from '../wire/websocket/readings.ts';
import { Random } from './random.ts';
import { judge } from './websocket-oracle.ts';

export const name = 'websocket';

const MAX_FINDINGS = 10;
const PASS: Filter = { message: (_, next) => next, control: (_, payload) => payload };
const NOTHING = Buffer.alloc(0);
const PIECES = ['a', 'é', '€', '😀', '\0', 'x'.repeat(124), 'y'.repeat(300)].map(text => Buffer.from(text));

/**
 * No way of cutting the input changes what is read, and no input crashes the relay or makes it forward what is not
 * RFC 6455: what it writes is read again, as the same messages.
 */
export function run(
  deadlineMs: number,
  first = Number(process.env['FUZZ_SEED'] ?? Math.trunc(Math.random() * 2 ** 31)),
): Promise<{ executions: number; findings: string[] }> {
  const findings: string[] = [];
  let executions = 0;
  while (performance.now() < deadlineMs && findings.length < MAX_FINDINGS) {
    const random = new Random(first + executions++);
    const sender: Sender = random.chance(2) ? 'client' : 'server';
    const input = stream(random, sender === 'client');
    let wrong: string | undefined;
    try {
      wrong =
        variance(sender, input, random) ?? disagreement(sender, input) ?? forwarding(sender, input, random);
    } catch (error) {
      wrong = String((error as Error).stack);
    }
    if (wrong) findings.push(`from a ${sender}, ${wrong}: ${input.toString('hex')}`);
  }
  return Promise.resolve({ executions, findings });
}

/** Frames of which most are right, or are right but for one byte; now and then just bytes. */
function stream(random: Random, masked: boolean): Buffer {
  if (random.chance(10)) return bytes(random, random.below(60));
  const frames: Buffer[] = [];
  for (let i = random.below(5) + 1; i > 0; i--) frames.push(...message(random, masked));
  const whole = Buffer.concat(frames);
  if (random.chance(2) || whole.length === 0) return whole;
  const at = random.chance(2) ? random.below(Math.min(whole.length, 12)) : random.below(whole.length);
  whole[at] = random.chance(2) ? (whole[at] as number) ^ (1 << random.below(8)) : random.below(256);
  return random.chance(4) ? whole.subarray(0, random.below(whole.length + 1)) : whole;
}

/** A message, its frames cut anywhere, with control frames between them. */
function message(random: Random, masked: boolean): Buffer[] {
  if (random.chance(5)) return [control(random, masked)];
  const opcode = random.pick([TEXT, BINARY]);
  const body = Buffer.concat(Array.from({ length: random.below(4) }, () => random.pick(PIECES)));
  const pieces = random.split(body, random.below(4));
  if (pieces.length === 0 || random.chance(5)) pieces.splice(random.below(pieces.length + 1), 0, NOTHING);
  return pieces.flatMap((piece, i) => {
    const fin = i === pieces.length - 1 ? !random.chance(40) : random.chance(40);
    const length = random.chance(40) ? { lengthBytes: random.pick([3, 9] as const) } : {};
    const choice = { fin, mask: masked, ...length, ...(random.chance(60) && { rsv: random.below(8) }) };
    const next = frame(i === 0 ? opcode : 0, piece, choice);
    return random.chance(5) ? [control(random, masked), next] : [next];
  });
}

function control(random: Random, masked: boolean): Buffer {
  const reason = random.pick(['', 'bye', 'é', '\xff']);
  const code = random.pick([1000, 1001, 1005, 1011, 1014, 2999, 4000, random.below(65_536)]);
  if (random.chance(8)) return frame(CLOSE, random.chance(4) ? '' : close(code, reason), { mask: masked });
  return frame(random.pick([PING, PONG]), bytes(random, random.pick([0, 1, 125, 126])), { mask: masked });
}

function bytes(random: Random, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => random.below(256)));
}

/** What changes with the way the input is cut. Of a message that is never completed, how much was delivered may. */
function variance(sender: Sender, input: Buffer, random: Random): string | undefined {
  const essence = ({ events, code, fault }: Reading): string => JSON.stringify([events, code, fault]);
  const expected = essence(readFrames(sender, [input]));
  for (const cuts of [1, 3, input.length * 2]) {
    const pieces = random.split(input, cuts);
    const got = essence(readFrames(sender, pieces));
    if (got !== expected) return `cut at ${pieces.map(p => p.length).join()}: ${got} instead of ${expected}`;
  }
  return undefined;
}

/** Where a second reading of RFC 6455 says something else. A text may be refused before its message is complete. */
function disagreement(sender: Sender, input: Buffer): string | undefined {
  const ours = readFrames(sender, [input]);
  const theirs = judge(sender, input);
  const isEarly = ours.code === 1007;
  const shared = isEarly ? theirs.events.slice(0, ours.events.length) : theirs.events;
  if (JSON.stringify(ours.events) !== JSON.stringify(shared)) {
    return `read ${JSON.stringify(ours.events)}, another reader ${JSON.stringify(theirs.events)}`;
  }
  if (theirs.state === 'bad') return ours.code === undefined ? 'read what another reader refuses' : undefined;
  const isRight = ours.code === undefined || theirs.state === 'cut';
  return isRight ? undefined : `refused what another reader takes: ${ours.fault}`;
}

/** What the relay makes of the same bytes, in pieces and with a slow reader at the other end. */
function forwarding(sender: Sender, input: Buffer, random: Random): string | undefined {
  const client = new FakeSocket();
  const upstream = new FakeSocket();
  const [from, to] = sender === 'client' ? [client, upstream] : [upstream, client];
  from.pause();
  to.pause();
  const relay = new Relay(client.asSocket, upstream.asSocket, PASS, PASS);
  relay.start(NOTHING, NOTHING, () => {});
  for (const piece of random.split(input, 4)) {
    to.takes = !random.chance(3);
    from.receive(Buffer.from(piece));
    to.drain();
    from.pump();
  }
  const read = readFrames(sender, [input]);
  const peer = sender === 'client' ? 'client' : 'server';
  const forwarded = readFrames(peer, [Buffer.concat(to.writes)]);
  if (forwarded.code !== undefined) return `forwarded what is not valid: ${forwarded.fault}`;
  const closing = read.code === undefined ? [] : forwarded.events.splice(read.events.length);
  if (JSON.stringify(forwarded.events) !== JSON.stringify(read.events)) {
    return `forwarded ${JSON.stringify(forwarded.events)} instead of ${JSON.stringify(read.events)}`;
  }
  if (read.code === undefined) return relay.failure ? `refused: ${relay.failure.message}` : undefined;
  if (!relay.failure || closing.length !== 1) return `not ended, for ${read.fault}`;
  return answered(sender, from, read.code);
}

/** The Close that the sender of the fault is told. */
function answered(sender: Sender, from: FakeSocket, code: number): string | undefined {
  const told = readFrames(sender === 'client' ? 'server' : 'client', [Buffer.concat(from.writes)]).events;
  const payload = Buffer.from(told.at(-1)?.slice('close '.length) ?? '', 'latin1');
  const said = payload.length >= 2 ? payload.readUInt16BE(0) : 0;
  return said === code && isCloseCode(said) ? undefined : `told ${said} instead of ${code}`;
}
