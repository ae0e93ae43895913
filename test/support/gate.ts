import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { writeTrustFiles } from '../../src/admin/trust.ts';
import { type SessionAnswer, sessionAnswer } from '../../src/admin/wiring.ts';
import { type Gate, type GateOptions, startGate } from '../../src/app.ts';
import type { AuditEvent, Log } from '../../src/types.ts';
import type { Env } from './clients.ts';
import type { Proxy } from './raw-client.ts';
import { type GateFiles, type GateSetup, writeGate } from './setup.ts';

export interface SessionChoice {
  profile?: string;
  /** ms */
  ttlMs?: number;
  sub?: string;
  act?: string;
  labels?: Readonly<Record<string, string>>;
  subjectToken?: string;
}

export interface TestSession {
  readonly id: string;
  readonly token: string;
  /** `http://<id>:<token>@127.0.0.1:<port>` */
  readonly proxyUrl: string;
  /** The same for raw clients. */
  readonly proxy: Proxy;
  /** Environment variable → stub. */
  readonly stubs: Readonly<Record<string, string>>;
  /** All that the gate hands out for a child: proxy, trust, stubs. */
  readonly env: Env;
}

export interface LogLine {
  readonly level: keyof Log;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A real gate, as a test sees it. */
export interface TestGate {
  readonly proxyPort: number;
  /** PEM of the gate's CA. */
  readonly ca: string;
  readonly caFile: string;
  session(choice?: SessionChoice): Promise<TestSession>;
  revoke(id: string): Promise<void>;
  /** The audit's lines, once there are `count` of them; fails when there are not. */
  audit(count: number): Promise<AuditEvent[]>;
  /** The audit file as it is now. */
  auditText(): string;
  /** What the gate logged so far. */
  readonly logs: readonly LogLine[];
  stop(): Promise<void>;
}

const AUDIT_MS = 5000;

/** A line is written when its request is over, which may be just after the client has its answer. */
export async function auditLines(file: string, count: number): Promise<AuditEvent[]> {
  const deadline = Date.now() + AUDIT_MS;
  for (;;) {
    const text = existsSync(file) ? readFileSync(file, 'utf8') : '';
    const lines = text.split('\n').slice(0, -1);
    if (lines.length >= count) return lines.map(line => JSON.parse(line) as AuditEvent);
    if (Date.now() > deadline) throw new Error(`the audit holds ${lines.length} of ${count} lines: ${text}`);
    await delay(5);
  }
}

/** What the control plane answers, taken apart. */
export function testSession(answer: SessionAnswer, setup: GateSetup): TestSession {
  const { port, username, password } = new URL(answer.proxy);
  const credential = Buffer.from(`${username}:${password}`).toString('base64');
  const variables = Object.values(setup.credentials ?? {}).map(({ env }) => env);
  const stubs = variables.map(name => [name, answer.env[name] ?? ''] as const);
  return {
    id: answer.id,
    token: password,
    proxyUrl: answer.proxy,
    proxy: { port: Number(port), authorization: `Basic ${credential}` },
    stubs: Object.fromEntries(stubs),
    env: answer.env,
  };
}

function recorder(): { log: Log; lines: LogLine[] } {
  const lines: LogLine[] = [];
  const at =
    (level: keyof Log) =>
    (message: string, fields: Readonly<Record<string, unknown>> = {}): void => {
      lines.push({ level, message, fields });
    };
  return { lines, log: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') } };
}

/** A gate in this process, and what only such a one can show. */
export interface LocalGate extends TestGate {
  readonly gate: Gate;
  readonly files: GateFiles;
  readonly log: Log;
  /** Changes the configuration file and has it read at once. */
  rewrite(change: (text: string) => string): void;
}

/** A gate in this process. `lookup`: a table of names of the test's own. */
export async function startTestGate(
  setup: GateSetup,
  options: Pick<GateOptions, 'lookup'> = {},
): Promise<LocalGate> {
  const files = await writeGate(setup);
  const { log, lines } = recorder();
  const gate = await startGate({ configFile: files.configFile, log, ...options });
  const { port } = gate.address;
  const trust = writeTrustFiles(gate.caFile, gate.bundleFile);
  return {
    gate,
    files,
    log,
    rewrite: change => {
      writeFileSync(files.configFile, change(readFileSync(files.configFile, 'utf8')));
      gate.reload();
    },
    proxyPort: port,
    ca: gate.authority.rootPem,
    caFile: gate.caFile,
    logs: lines,
    session: async (choice = {}) => {
      const { session, token } = await gate.createSession({ profile: 'default', ...choice });
      return testSession(sessionAnswer(gate, trust, session, token), setup);
    },
    revoke: async id => {
      await gate.sessions.revoke(id);
    },
    audit: count => auditLines(files.auditFile, count),
    auditText: () => readFileSync(files.auditFile, 'utf8'),
    stop: () => gate.stop(),
  };
}
