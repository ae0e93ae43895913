import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { SessionAnswer } from '../../src/admin/wiring.ts';
import { cleanEnv, type Env } from './clients.ts';
import { auditLines, type LogLine, type TestGate, testSession } from './gate.ts';
import { type GateSetup, writeGate } from './setup.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const START_MS = 20_000;
const STOP_MS = 10_000;

/** A gate in a process of its own, started by the command line and steered through the control plane. */
export interface ProcessGate extends TestGate {
  readonly pid: number;
}

/** Fields of the log line that tells that the gate serves. */
interface Ready {
  readonly proxy: string;
  readonly admin: string;
  readonly ca: string;
}

interface Process {
  readonly pid: number;
  readonly ready: Ready;
  readonly logs: readonly LogLine[];
  readonly stop: () => Promise<void>;
}

/** One line of the log as it stands on stderr: JSON when that is no terminal. */
function parseLog(line: string): LogLine {
  if (!line.startsWith('{')) return { level: 'error', message: line, fields: {} };
  const { level, message, ...fields } = JSON.parse(line) as { level: LogLine['level']; message: string };
  return { level, message, fields };
}

async function start(configFile: string, extra: Env): Promise<Process> {
  const args = ['--disable-sigusr1', MAIN, 'start', '--config', configFile];
  const child = spawn(process.execPath, args, { env: cleanEnv(extra), stdio: ['ignore', 'ignore', 'pipe'] });
  const exited = once(child, 'exit');
  const logs: LogLine[] = [];
  const ready = new Promise<Ready>((resolve, reject) => {
    const fail = (why: string) => () => {
      child.kill('SIGKILL');
      reject(new Error(`the gate ${why}; its log: ${JSON.stringify(logs)}`));
    };
    const timer = setTimeout(fail('did not get ready in time'), START_MS);
    child.on('exit', fail('ended'));
    createInterface(child.stderr).on('line', line => {
      const log = parseLog(line);
      logs.push(log);
      if (log.message !== 'ready') return;
      clearTimeout(timer);
      resolve(log.fields as unknown as Ready);
    });
  });
  const facts = await ready;
  const stop = async (): Promise<void> => {
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    child.kill('SIGTERM');
    await exited;
    clearTimeout(timer);
  };
  return { pid: child.pid ?? 0, ready: facts, logs, stop };
}

/** A gate as an operator runs it, with further variables of its own. */
export async function spawnTestGate(setup: GateSetup, extra: Env = {}): Promise<ProcessGate> {
  const files = await writeGate(setup);
  const gate = await start(files.configFile, extra);
  const { proxy, admin, ca } = gate.ready;
  const token = readFileSync(join(files.caDir, 'admin-token'), 'utf8').trim();
  const call = async (method: string, path: string, body?: unknown): Promise<unknown> => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const answer = await fetch(`http://${admin}${path}`, {
      method,
      headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  return {
    pid: gate.pid,
    proxyPort: Number(new URL(`http://${proxy}`).port),
    ca: readFileSync(ca, 'utf8'),
    caFile: ca,
    logs: gate.logs,
    session: async ({ ttlMs, ...choice } = {}) => {
      const ttl = ttlMs === undefined ? {} : { ttl: `${Math.ceil(ttlMs / 1000)}s` };
      return testSession((await call('POST', '/v1/sessions', { ...choice, ...ttl })) as SessionAnswer, setup);
    },
    revoke: async id => {
      await call('DELETE', `/v1/sessions/${id}`);
    },
    audit: count => auditLines(files.auditFile, count),
    auditText: () => readFileSync(files.auditFile, 'utf8'),
    stop: gate.stop,
  };
}
