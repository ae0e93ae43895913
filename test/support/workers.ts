import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { onTestFinished } from 'vitest';
import { filesOfWorkers } from '../../src/audit/files.ts';
import { verifyChains } from '../../src/audit/verify.ts';
import type { AuditEvent } from '../../src/types.ts';
import type { TestSession } from './gate.ts';
import { type ProcessGate, spawnTestGate } from './process.ts';
import { openTls, readReply, type Reply } from './raw-client.ts';
import { until } from './redis.ts';
import type { GateSetup } from './setup.ts';

/** A gate of two worker processes. */
export interface CrewGate extends ProcessGate {
  readonly configFile: string;
  /** Process ids of the workers that live. */
  workers(): number[];
  /** Audit lines by the name of the file. */
  lines(): Map<string, AuditEvent[]>;
  /** The file that holds the line of a path, and so who served it; waits for it. */
  servedBy(path: string): Promise<string>;
  /** Findings in the chains of all files. */
  findings(): Promise<readonly object[]>;
  /** An answer of the control plane. */
  admin(path: string, method?: string): Promise<{ status: number; text: string }>;
  /** Watches `/v1/events`; gives the names of those that came so far. */
  events(): Promise<{ all(): string[]; close(): void }>;
  /** One request in a tunnel of its own. */
  get(session: TestSession, host: string, path: string, stub?: string): Promise<Reply>;
  /** Repeats until both workers have served one, with a path that tells them apart; all of the answers. */
  atBoth<T>(ask: (path: string) => Promise<T>): Promise<T[]>;
}

export async function spawnCrew(setup: GateSetup): Promise<CrewGate> {
  const listen = { proxy: '127.0.0.1:0', admin: '127.0.0.1:0', workers: 2 };
  const gate = await spawnTestGate({ ...setup, config: { listen, ...setup.config } });
  onTestFinished(() => gate.stop());
  const dir = dirname(dirname(gate.caFile));
  const auditFile = join(dir, 'audit.jsonl');
  const ready = gate.logs.find(({ message }) => message === 'ready');
  const token = readFileSync(join(dir, 'certs', 'admin-token'), 'utf8').trim();
  let asked = 0;
  const lines = (): Map<string, AuditEvent[]> =>
    new Map(
      filesOfWorkers(auditFile)
        .filter(existsSync)
        .map(file => [basename(file), linesOf(file)] as const),
    );
  const servedBy = async (path: string): Promise<string> => {
    const found = (): string | undefined =>
      [...lines()].find(([, events]) => events.some(event => event.path === path))?.[0];
    await until(`the audit tells of ${path}`, () => found() !== undefined);
    return found() as string;
  };
  return {
    ...gate,
    configFile: join(dir, 'stubgate.yaml'),
    workers: () => childrenOf(gate.pid),
    lines,
    servedBy,
    findings: async () => (await verifyChains(filesOfWorkers(auditFile))).findings,
    admin: async (path, method = 'GET') => {
      const headers = { authorization: `Bearer ${token}` };
      const answer = await fetch(`http://${String(ready?.fields['admin'])}${path}`, { method, headers });
      return { status: answer.status, text: await answer.text() };
    },
    events: async () => {
      const stop = new AbortController();
      onTestFinished(() => stop.abort());
      const { body } = await fetch(`http://${String(ready?.fields['admin'])}/v1/events`, {
        headers: { authorization: `Bearer ${token}` },
        signal: stop.signal,
      });
      const reader = (body as ReadableStream<Uint8Array>).getReader();
      let text = '';
      const read = async (): Promise<void> => {
        for (let part = await reader.read(); !part.done; part = await reader.read())
          text += Buffer.from(part.value).toString();
      };
      const reading = read().catch(() => {});
      await until('it is watched', () => text.includes(': watching'));
      return {
        all: () => [...text.matchAll(/^event: (.+)$/gm)].map(([, name]) => name ?? ''),
        close: () => {
          stop.abort();
          void reading;
        },
      };
    },
    get: async ({ proxy }, host, path, stub) => {
      const peer = await openTls(proxy, gate.ca, host);
      const authorization = stub === undefined ? '' : `Authorization: Bearer ${stub}\r\n`;
      await peer.send(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${authorization}\r\n`);
      const reply = await readReply(peer);
      peer.cut();
      return reply;
    },
    atBoth: async ask => {
      const seen = new Set<string>();
      const answers = [];
      while (seen.size < 2) {
        const path = `/ask/${++asked}`;
        answers.push(await ask(path));
        seen.add(await servedBy(path));
      }
      return answers;
    },
  };
}

/** Processes that this one has started, and that live. */
export function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim();
  const children = text === '' ? [] : text.split(' ').map(Number);
  // `prlimit` runs for a moment.
  return children.filter(child => commandOf(child).includes('\0worker\0'));
}

export function isAlive(pid: number): boolean {
  return commandOf(pid) !== '';
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return '';
  }
}

/** Whole ones: another one may be on its way. */
function linesOf(file: string): AuditEvent[] {
  const text = readFileSync(file, 'utf8');
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as AuditEvent);
}
