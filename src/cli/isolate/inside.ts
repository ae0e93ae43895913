/**
 * The first program in the sandbox. It opens the proxy's port in the sandbox's network namespace and hands the listening
 * socket out to the gate, which accepts on it; then it is told the command, cuts that channel, and starts the command.
 * argv: host, port.
 */
import { closeSync, readdirSync, readFileSync } from 'node:fs';
import { createServer, Socket } from 'node:net';
import { COMMANDS_SIGNALS, execute, type Execution } from '../execute.ts';
import { SIGNALS_FD } from './channel.ts';

/** open(2); as /proc/PID/fdinfo shows flags, in octal. */
const O_CLOEXEC = 0o2000000;

/** Closes what the caller of `stubgate run` had open besides stdio: a folder or a socket of the outside is a way out. */
function closeInherited(): void {
  for (const name of readdirSync('/proc/self/fd')) {
    const fd = Number(name);
    if (fd <= 2) continue;
    try {
      const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '0';
      // Node has set it on all that is its own, and on the two channels to the outside.
      if ((Number.parseInt(flags, 8) & O_CLOEXEC) === 0) closeSync(fd);
    } catch {
      // The listing's own.
    }
  }
}

/** One name in each line, from the outside only. */
function forwardedSignals(forward: (signal: NodeJS.Signals) => void): void {
  let text = '';
  const channel = new Socket({ fd: SIGNALS_FD, readable: true, writable: false });
  channel.on('error', () => {});
  channel.setEncoding('latin1').on('data', (more: string) => {
    const lines = (text + more).split('\n');
    text = lines.pop() ?? '';
    for (const line of lines) forward(line as NodeJS.Signals);
  });
}

async function start(order: Execution): Promise<void> {
  process.exit(await execute(order, forwardedSignals));
}

closeInherited();
for (const signal of COMMANDS_SIGNALS) process.on(signal, () => {});
const [host, port] = process.argv.slice(2);
const server = createServer();
server.listen(Number(port), host, () => void process.send?.('listening', server));
process.once('message', (order: Execution) => {
  server.close();
  process.once('disconnect', () => void start(order));
  process.disconnect?.();
});
