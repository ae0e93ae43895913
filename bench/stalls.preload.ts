// Loaded into the gate by `node --import` when its stalls are measured: at SIGUSR2 it adds the longest one to ./stall.
import { appendFileSync } from 'node:fs';

const TICK_MS = 1;
let [stall, cpu] = [0, 0];
let last = performance.now();
let lastCpu = cpuMs();

/** CPU time of the thread in which the event loop runs, ms. */
function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1e3;
}

setInterval(() => {
  const [now, nowCpu] = [performance.now(), cpuMs()];
  stall = Math.max(stall, now - last - TICK_MS);
  cpu = Math.max(cpu, nowCpu - lastCpu);
  [last, lastCpu] = [now, nowCpu];
}, TICK_MS).unref();
process.on('SIGUSR2', () => {
  // ms between two ticks beyond what was asked for, and the most CPU time between two ticks.
  appendFileSync('stall', `${stall} ${cpu}\n`);
  [stall, cpu] = [0, 0];
});
