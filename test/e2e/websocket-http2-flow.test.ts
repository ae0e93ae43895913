import { existsSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { type ProcessGate, spawnTestGate } from '../support/process.ts';
import { BINARY, frame } from '../support/websocket.ts';
import { Drain, Flood, MIB, peak } from './flood.ts';
import { type Legs, legChat } from './legs.ts';
import { expectClean } from './scene.ts';

const LEGS: readonly Legs[] = [
  ['h1', 'h2'],
  ['h2', 'h1'],
  ['h2', 'h2'],
];
const CASES = LEGS.flatMap(legs =>
  (['client', 'upstream'] as const).map(reader => [...legs, reader] as const),
);

describe.skipIf(!existsSync('/proc/self/status'))('a message of 64 MiB to a peer that does not read', () => {
  test.each(CASES)(
    'stops the other one, and takes no memory: from %s to %s, the %s does not read',
    { timeout: 60_000 },
    async (client, upstream, reader) => {
      let gate: ProcessGate | undefined;
      const box = await legChat([client, upstream], undefined, undefined, async setup => {
        gate = await spawnTestGate(setup);
        return gate;
      });
      const pid = gate?.pid ?? 0;
      const [from, to] =
        reader === 'client' ? [box.server.socket, box.client.socket] : [box.client.socket, box.server.socket];
      const choice = { fin: false, mask: reader === 'upstream' };
      const first = frame(BINARY, reader === 'client' ? box.secret : 'start', choice);
      const chunk = frame(0, Buffer.alloc(MIB, 'abcdefgh'), choice);
      const drain = new Drain(to);
      // What is measured is growth: it has carried as much before, to a peer that reads.
      await new Flood(from, first, chunk, 16, choice.mask).done;
      await drain.until(16 * MIB);
      const before = peak(pid);
      to.pause();
      const flood = new Flood(from, first, chunk, 64, choice.mask);
      expect(await flood.stalled()).toBeLessThan(32 * MIB);
      to.resume();
      await flood.done;
      await drain.until(80 * MIB);
      expectClean(drain.start, box.secret);
      // In kB; garbage of what passed is in it, but never the 64 MiB.
      expect(peak(pid) - before).toBeLessThan(48 * 1024);
      box.client.cut();
      expect((await box.gate.audit(1))[0]).toMatchObject({
        status: 101,
        scrubbed: reader === 'client' ? 2 : 0,
      });
    },
  );
});
