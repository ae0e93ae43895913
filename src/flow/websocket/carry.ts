import type { Offer } from '../../wire/websocket/handshake.ts';
import { answerFields, checkAnswer } from '../../wire/websocket/handshake.ts';
import { Relay } from '../../wire/websocket/relay.ts';
import { ClientLeft, type Reply, type Switch } from '../ask.ts';
import type { Job } from '../judge.ts';
import { WITHHELD } from '../answer.ts';
import { ALARMS } from '../refuse.ts';
import type { Rooms } from '../rooms.ts';
import { endToEnd } from '../../wire/headers.ts';
import { Down } from './down.ts';
import { Up } from './up.ts';

/**
 * Carries a WebSocket from the upstream's 101 to its end, and writes the audit entry then. Throws a Refusal as long as
 * nothing has been sent.
 */
export async function carry(rooms: Rooms, job: Job, reply: Reply, upstream: Switch): Promise<void> {
  const { x, entry } = job;
  checkAnswer(reply.head, upstream.key);
  const scrubbed = reply.scrubber.headers(endToEnd(reply.head.headers, WITHHELD));
  const fields = answerFields(scrubbed, job.websocket as Offer);
  if (x.done) throw new ClientLeft();
  const up = new Up(rooms, job);
  const down = new Down(rooms, job);
  entry.body = up;
  entry.firstByte();
  entry.event.status = 101;
  const client = x.switch(fields);
  const relay = new Relay(client.socket, upstream.socket, up, down);
  x.switched = relay;
  await relay.run(client.early, upstream.early);
  entry.event.scrubbed = reply.scrubber.hits + down.hits;
  if (relay.failure) tell(rooms, job, relay.failure);
  entry.write(x.bytesIn + relay.bytesIn, x.bytesOut + relay.bytesOut);
}

/** The client was told by a Close; this is for its operator. */
function tell({ log }: Rooms, { entry }: Job, refusal: NonNullable<Relay['failure']>): void {
  const { event } = entry;
  const { code, message, cause } = refusal;
  if (cause !== undefined) log.warn(message, { code, request_id: event.request_id, cause });
  if (ALARMS.has(code)) log.warn('alarm', { code, session: event.session, host: event.host });
  entry.deny(refusal);
  event.status = 101;
}
