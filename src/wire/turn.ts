/** What came to a connection and is read when everything else has come, too. */
export interface Arriving {
  arrived(): void;
}

/** What leaves at the end of a turn of the event loop. */
export interface Leaving {
  leave(): void;
}

let arriving: Arriving[] = [];
let leaving: Leaving[] = [];
let isScheduled = false;
let exchanges = 0;

/** An exchange began. */
export function began(): void {
  exchanges++;
}

/** An exchange is over. */
export function ended(): void {
  exchanges--;
}

/**
 * Lets the head of a message be read: behind the polling of all sockets if other exchanges are under way, for then the
 * kernel's and OpenSSL's code runs for all of them, and then ours: each finds its instructions in the cache.
 */
export function arriveSoon(connection: Arriving): void {
  if (exchanges <= 1) return connection.arrived();
  arriving.push(connection);
  schedule();
}

/**
 * Lets a complete message leave: at the end of this turn of the event loop if other exchanges are under way, for then
 * their messages often leave in the same turn, and the other ends are woken once for all of them. Each waking of another
 * core costs more than the write itself.
 */
export function leaveSoon(message: Leaving): void {
  if (exchanges <= 1) return message.leave();
  leaving.push(message);
  schedule();
}

/** Both steps of one turn; what promises do between them leaves in the same turn. */
function schedule(): void {
  if (isScheduled) return;
  isScheduled = true;
  setImmediate(arriveNow);
  setImmediate(endTurn);
}

function arriveNow(): void {
  const all = arriving;
  arriving = [];
  for (const connection of all) connection.arrived();
}

function endTurn(): void {
  isScheduled = false;
  leaveNow();
}

/** Lets all that waits leave; to be called before anything else is written. */
export function leaveNow(): void {
  if (leaving.length === 0) return;
  const all = leaving;
  leaving = [];
  for (const message of all) message.leave();
}
