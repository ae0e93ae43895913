import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { url as inspectorUrl } from 'node:inspector';
import { UsageError } from './fail.ts';

/** Switches of Node by which memory, and so secrets, get out of the process. */
const REVEALING =
  /--(inspect|heapsnapshot|heap-prof|report|diagnostic-dir|abort-on-uncaught|tls-keylog|trace-tls)/;

/** Makes the process fit to hold secrets; to be called before it does. Throws if it was started in a way that shows them. */
export function harden(): void {
  if (process.env['STUBGATE_DEBUG'] !== '1') refuseRevealing();
  for (const name of Object.keys(process.env)) {
    // Cloud SDKs would obey them, and send vault requests through a proxy that the configuration does not name.
    if (/_proxy$/i.test(name)) delete process.env[name];
  }
  delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
  forbidCores();
}

function refuseRevealing(): void {
  const switches = [...process.execArgv, process.env['NODE_OPTIONS'] ?? ''].join(' ');
  const found = REVEALING.exec(switches)?.[0] ?? (inspectorUrl() === undefined ? undefined : '--inspect');
  const debug = process.env['NODE_DEBUG'] ?? process.env['NODE_DEBUG_NATIVE'];
  const what = found ?? (debug === undefined || debug === '' ? undefined : 'NODE_DEBUG');
  if (what !== undefined) {
    throw new UsageError(
      `${what} would show secrets; start without it, or with STUBGATE_DEBUG=1 and no real secret`,
    );
  }
}

/** No memory in core files (core(5)), and no core files. */
function forbidCores(): void {
  try {
    writeFileSync('/proc/self/coredump_filter', '0');
  } catch {
    // Not Linux, or /proc is not there: the limit below is left.
  }
  spawnSync('prlimit', ['--pid', `${process.pid}`, '--core=0'], { stdio: 'ignore' });
}
