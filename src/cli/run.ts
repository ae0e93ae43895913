import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { Command } from 'commander';
import { inheritableEnvironment } from '../admin/environment.ts';
import { writeTrustFiles } from '../admin/trust.ts';
import { type SessionAnswer, sessionAnswer } from '../admin/wiring.ts';
import type { Gate, GateOptions, startGate } from '../app.ts';
import { AuditLocked } from '../audit/lock.ts';
import type { Usage } from '../audit/metrics.ts';
import { printable } from '../audit/printable.ts';
import { compileConfig } from '../config/compile.ts';
import { loadConfig } from '../config/load.ts';
import { parseDuration } from '../config/scalars.ts';
import type { Compiled } from '../config/types.ts';
import { envNames } from '../vaults/env.ts';
import { adminClient, NoGate } from './client.ts';
import { namesDemo, startDemo } from './demo.ts';
import { fail, UsageError } from './fail.ts';
import { configOption, requireConfig } from './find-config.ts';
import { harden } from './harden.ts';
import { tuneHeap } from './heap.ts';
import { createLog } from './log.ts';
import { collectLabel } from './output.ts';

interface RunOptions {
  config?: string;
  profile: string;
  ttl?: string;
  label: Record<string, string>;
}

export function runVerb(program: Command): void {
  program
    .command('run')
    .argument('<command...>', 'the command, after --')
    .description(
      'a session, its environment and CA, the command, a summary; starts a gate for it if none runs',
    )
    .addOption(configOption())
    .option('--profile <name>', 'the rules it runs under', 'default')
    .option('--ttl <duration>', 'how long the session lives, such as 30m')
    .option('--label <name=value>', 'for the audit; may be repeated', collectLabel, {})
    .passThroughOptions()
    .addHelpText('after', "\nExit code: the command's.\n\nExample:\n  stubgate run --profile ci -- npm test")
    .action(run);
}

/** A session of some gate. */
interface Lease {
  readonly answer: SessionAnswer;
  usage(): Promise<Usage>;
  end(): Promise<void>;
}

async function run([command, ...args]: string[], options: RunOptions): Promise<void> {
  const inherited = { ...process.env };
  tuneHeap();
  harden();
  const compiled = compileConfig(loadConfig(requireConfig(options.config)));
  if (!compiled.profiles.has(options.profile)) {
    throw new UsageError(
      `there is no profile "${options.profile}"; write one of ${[...compiled.profiles.keys()].join(', ')}`,
    );
  }
  const lease = (await leaseFromRunning(compiled, options)) ?? (await leaseFromEmbedded(compiled, options));
  const refs = [...compiled.credentials.values()].map(({ ref }) => ref);
  const kept = inheritableEnvironment(inherited, envNames(refs, compiled.vaults));
  try {
    process.exitCode = await execute(command as string, args, { ...kept, ...lease.answer.env });
  } finally {
    await settle(lease);
  }
}

/** The command's exit code stands, whatever became of the gate meanwhile. */
async function settle(lease: Lease): Promise<void> {
  try {
    summarise(lease.answer.id, await lease.usage());
    await lease.end();
  } catch (error) {
    fail(error);
  }
}

/** Undefined if no gate of this configuration runs. */
async function leaseFromRunning(
  { config }: Compiled,
  { profile, ttl, label }: RunOptions,
): Promise<Lease | undefined> {
  try {
    const client = adminClient(config);
    const answer = (await client.call('POST', '/v1/sessions', {
      profile,
      ttl,
      labels: label,
    })) as SessionAnswer;
    const path = `/v1/sessions/${answer.id}`;
    return {
      answer,
      usage: async () => ((await client.call('GET', path)) as { usage: Usage }).usage,
      end: async () => void (await client.call('DELETE', path)),
    };
  } catch (error) {
    if (error instanceof NoGate) return undefined;
    throw error;
  }
}

async function leaseFromEmbedded({ config }: Compiled, { profile, ttl, label }: RunOptions): Promise<Lease> {
  const { startGate } = await import('../app.ts');
  const ttlMs = ttl === undefined ? undefined : parseDuration(ttl);
  if (ttl !== undefined && ttlMs === undefined)
    throw new UsageError(`--ttl ${ttl}: write a duration such as 30m`);
  const demo = namesDemo(config) ? await startDemo(config) : undefined;
  const gate = await startEmbedded(startGate, {
    configFile: config.file,
    log: createLog(process.stderr, 'warn'),
    listen: { host: '127.0.0.1', port: 0 },
    ...(demo && { extraUpstreams: demo.upstreams }),
  });
  const trust = writeTrustFiles(gate.caFile, gate.bundleFile);
  const { session, token } = gate.createSession({
    profile,
    ...(ttlMs !== undefined && { ttlMs }),
    labels: label,
  });
  return {
    answer: sessionAnswer(gate, trust, session, token),
    usage: async () => gate.metrics.usage(session.session),
    end: async () => {
      gate.sessions.revoke(session.session);
      await gate.stop();
      demo?.close();
    },
  };
}

/** Two of them may run at once: the second one writes an audit file of its own. */
async function startEmbedded(start: typeof startGate, options: GateOptions): Promise<Gate> {
  try {
    return await start(options);
  } catch (error) {
    if (!(error instanceof AuditLocked)) throw error;
    const auditFile = `${loadConfig(options.configFile).audit.file}.${process.pid}`;
    options.log.warn('another gate writes the audit file; this one is audited apart', { audit: auditFile });
    return start({ ...options, auditFile });
  }
}

const FORWARDED = ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const;
/** A terminal sends them to the command, too. */
const FROM_TERMINAL = ['SIGINT', 'SIGQUIT'] as const;

/** The command's exit code; 128 + n when signal n ended it, 127 when it is not there (POSIX sh). */
function execute(command: string, args: readonly string[], env: Record<string, string>): Promise<number> {
  return new Promise((resolve, reject) => {
    const forward = (signal: NodeJS.Signals) => void child.kill(signal);
    // Before the command is there: a signal must not end this process, and leave the command without its gate.
    for (const signal of FORWARDED) process.on(signal, forward);
    for (const signal of FROM_TERMINAL) process.on(signal, process.stdin.isTTY ? () => {} : forward);
    const child = spawn(command, args, { env, stdio: 'inherit' });
    child.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT' && error.code !== 'EACCES') return reject(error);
      const missing = error.code === 'ENOENT';
      console.error(
        `stubgate: ${printable(command)}: ${missing ? 'there is no such command' : 'may not be run'}`,
      );
      resolve(missing ? 127 : 126);
    });
    child.on('exit', (code, signal) => {
      resolve(signal === null ? (code ?? 0) : 128 + constants.signals[signal]);
    });
  });
}

function summarise(id: string, { allowed, denied, injected, scrubbed }: Usage): void {
  console.error(
    `stubgate: session ${id}: ${allowed} requests allowed, ${denied} denied; ` +
      `secrets injected ${injected} times, removed from answers ${scrubbed} times`,
  );
}
