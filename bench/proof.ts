import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Origin, PATHS } from './origin.ts';
import type { Running } from './peers/peer.ts';
import { fetchThrough, openTunnel } from './tunnel.ts';

const REQUESTS = 50;

/** Proves that authentication, policy, swap, scrub and audit are on: without them the numbers would mean nothing. */
export async function proveGate(
  origin: Origin,
  running: Running,
  dir: string,
  secrets: string[],
): Promise<void> {
  // One file for each process of the gate.
  const lines = (): number =>
    readdirSync(dir)
      .filter(name => /^audit(\.w\d+)?\.jsonl$/.test(name))
      .reduce((sum, name) => sum + readFileSync(join(dir, name), 'latin1').split('\n').length - 1, 0);
  const status = (answer: string): string => answer.split(' ')[1] ?? 'nothing';

  const stranger = { ...running, connectHeader: 'Proxy-Authorization: Basic c3RyYW5nZXI6dG9rZW4=' };
  const refusal = await openTunnel(origin, stranger).then(
    tls => {
      tls.destroy();
      return 'a tunnel';
    },
    (error: Error) => error.message,
  );
  must(refusal.includes(' 407 '), 'authentication', `a wrong token got: ${refusal}`);

  const denied = status(await fetchThrough(origin, running, '/admin'));
  must(denied === '403', 'policy', `a path that no rule allows got ${denied}`);

  const foreign = status(
    await fetchThrough(origin, { ...running, authorization: 'Bearer other' }, PATHS.small),
  );
  must(foreign === '403', 'policy', `a foreign credential got ${foreign}`);

  const before = lines();
  for (let i = 0; i < REQUESTS; i++) {
    const echo = await fetchThrough(origin, running, PATHS.echo);
    must(status(echo) === '200', 'swap', `the origin answered ${status(echo)}`);
    must(
      echo.includes(running.authorization),
      'scrub',
      'the echoed credential did not become the stub again',
    );
    must(!secrets.some(secret => echo.includes(secret)), 'scrub', 'a secret came back');
  }
  await delay(500); // lines may be written in batches
  must(lines() - before === REQUESTS, 'audit', `${REQUESTS} requests made ${lines() - before} lines`);
}

function must(holds: boolean, what: string, found: string): void {
  if (!holds) throw new Error(`the gate does not do its ${what}: ${found}`);
}
