/** What leaves at the end of a turn of the event loop. */
export interface Leaving {
  leave(): void;
}

const waiting: Leaving[] = [];
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
 * Lets a complete message leave: at the end of this turn of the event loop if other exchanges are under way, for then
 * their messages often leave in the same turn, and the other ends are woken once for all of them. Each waking of another
 * core costs more than the write itself.
 */
export function leaveSoon(message: Leaving): void {
  if (exchanges <= 1) message.leave();
  else if (waiting.push(message) === 1) setImmediate(leaveNow);
}

/** Lets all that waits leave; to be called before anything else is written. */
export function leaveNow(): void {
  if (waiting.length === 0) return;
  for (const message of waiting.splice(0)) message.leave();
}
