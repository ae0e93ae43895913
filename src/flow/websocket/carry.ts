import { endToEnd } from '../../wire/headers.ts';
import { answerFields, checkAnswer, type Offer } from '../../wire/websocket/handshake.ts';
import { Relay } from '../../wire/websocket/relay.ts';
import { WITHHELD } from '../answer.ts';
import { ClientLeft, type Reply, type Switch } from '../ask.ts';
import type { Job } from '../judge.ts';
import { ALARMS, raiseAlarm } from '../refuse.ts';
import type { Rooms } from '../rooms.ts';
import { Down } from './down.ts';
import { Up } from './up.ts';

/**
 * Carries a WebSocket from the upstream's answer to its end, and writes the audit entry then. Throws a Refusal as long as
 * nothing has been sent.
 */
export async function carry(rooms: Rooms, job: Job, reply: Reply, upstream: Switch): Promise<void> {
  const { x, entry } = job;
  let client: ReturnType<typeof x.switch>;
  try {
    client = x.switch(answerOf(job, reply, upstream));
  } catch (thrown) {
    reply.discard();
    throw thrown;
  }
  const up = new Up(rooms, job);
  const down = new Down(rooms, job);
  entry.body = up;
  entry.firstByte();
  entry.event.status = 101;
  const relay = new Relay(client.socket, upstream.socket, up, down);
  x.switched = relay;
  await new Promise<void>((resolve, reject) => {
    // At once, not a turn later: with its last connection the gate may be gone.
    relay.start(client.early, upstream.early, () => {
      try {
        entry.event.scrubbed = reply.scrubber.hits + down.hits;
        if (relay.failure) tell(rooms, job, relay.failure);
        entry.write(x.bytesIn + relay.bytesIn, x.bytesOut + relay.bytesOut);
        resolve();
      } catch (thrown) {
        reject(thrown);
      }
    });
  });
}

/** The fields of the answer to the client. Throws the Refusal that it is told instead. */
function answerOf({ x, websocket }: Job, { head, scrubber }: Reply, { key }: Switch): string[] {
  if (x.done) throw new ClientLeft();
  checkAnswer(head, key);
  return answerFields(scrubber.headers(endToEnd(head.headers, WITHHELD)), websocket as Offer);
}

/** The client was told by a Close; this is for its operator. */
function tell(rooms: Rooms, { entry }: Job, refusal: NonNullable<Relay['failure']>): void {
  const { event } = entry;
  const { code, message, cause } = refusal;
  if (cause !== undefined) rooms.log.warn(message, { code, request_id: event.request_id, cause });
  if (ALARMS.has(code)) raiseAlarm(rooms, code, entry);
  entry.deny(refusal);
  event.status = 101;
}
