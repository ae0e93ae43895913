import type { Server } from 'node:net';
import type { Command } from 'commander';
import { inheritableEnvironment } from '../admin/environment.ts';
import { writeTrustFiles } from '../admin/trust.ts';
import { type SessionAnswer, sessionAnswer } from '../admin/wiring.ts';
import type { Gate, GateOptions, startGate } from '../app.ts';
import { alarmVariables } from '../alarms/options.ts';
import { AuditLocked } from '../audit/lock.ts';
import type { Usage } from '../audit/metrics.ts';
import { compileConfig } from '../config/compile.ts';
import { loadConfig } from '../config/load.ts';
import { parseDuration } from '../config/scalars.ts';
import type { Compiled } from '../config/types.ts';
import { secretVariables } from '../state/redis/options.ts';
import { envNames } from '../vaults/env.ts';
import { adminClient, NoGate } from './client.ts';
import { namesDemo, startDemo } from './demo.ts';
import { execute, type Execution } from './execute.ts';
import { fail, UsageError } from './fail.ts';
import { configOption, requireConfig } from './find-config.ts';
import { harden } from './harden.ts';
import { tuneHeap } from './heap.ts';
import { addressOf, sandboxEnvironmentOf, wayIn } from './isolate/environment.ts';
import { sandboxFiles, type Wanted } from './isolate/files.ts';
import { executeIsolated, type Isolation, requireIsolation } from './isolate/run.ts';
import { relay } from './isolate/relay.ts';
import { createLog } from './log.ts';
import { collect, collectLabel } from './output.ts';

interface RunOptions {
  config?: string;
  profile: string;
  ttl?: string;
  label: Record<string, string>;
  isolate?: boolean;
  writable: string[];
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
    .option('--isolate', 'no network but the gate, and none of its files and processes (Linux, bubblewrap)')
    .option('--writable <folder>', 'with --isolate, besides the current one; may be repeated', collect, [])
    .passThroughOptions()
    .addHelpText('after', HELP)
    .action(run);
}

const HELP = `
Exit code: the command's; 2 if it could not be isolated, and was not run.

With --isolate it sees the machine's files read-only, may write in the current folder and in a /tmp of its own, and has no
privileges; keys in HOME (.ssh, .aws, …) and what is the gate's are hidden.

Example:
  stubgate run --profile ci -- npm test
  stubgate run --isolate -- npm ci`;

/** A session of some gate. */
interface Lease {
  readonly answer: SessionAnswer;
  /** Takes the connections of a listener in the command's sandbox. */
  serve(listener: Server): void;
  usage(): Promise<Usage>;
  end(): Promise<void>;
}

async function run([command, ...args]: string[], options: RunOptions): Promise<void> {
  const inherited = { ...process.env };
  tuneHeap();
  harden();
  if (options.writable.length > 0 && !options.isolate)
    throw new UsageError('--writable says what an isolated command may write; add --isolate');
  const isolation = options.isolate ? requireIsolation() : undefined;
  const compiled = compileConfig(loadConfig(requireConfig(options.config)));
  if (!compiled.profiles.has(options.profile)) {
    throw new UsageError(
      `there is no profile "${options.profile}"; write one of ${[...compiled.profiles.keys()].join(', ')}`,
    );
  }
  const lease = (await leaseFromRunning(compiled, options)) ?? (await leaseFromEmbedded(compiled, options));
  const env = { ...keptEnvironment(compiled, inherited), ...lease.answer.env };
  const execution = { command: command as string, args, env };
  try {
    process.exitCode = await (isolation
      ? isolated(execution, isolation, lease, { compiled, writable: options.writable })
      : execute(execution));
  } finally {
    await settle(lease);
  }
}

/** What a command keeps of the gate's own environment. */
export function keptEnvironment(
  { config, sources, vaults, mints }: Compiled,
  inherited: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const refs = [...sources.values()].map(({ ref }) => ref);
  const ofMints = [...mints.values()].flatMap(({ minter }) => minter.variables ?? []);
  const ofState = [...secretVariables(config.state), ...alarmVariables(config.alarms)];
  return inheritableEnvironment(inherited, new Set([...envNames(refs, vaults), ...ofMints, ...ofState]));
}

export function isolated(
  execution: Execution,
  isolation: Isolation,
  lease: Pick<Lease, 'answer' | 'serve'>,
  files: Pick<Wanted, 'compiled' | 'writable'>,
): Promise<number> {
  const proxy = new URL(lease.answer.proxy);
  return executeIsolated({
    ...execution,
    ...isolation,
    ...sandboxFiles({ ...files, caFile: lease.answer.ca_file }),
    ...wayIn(addressOf(proxy)),
    env: sandboxEnvironmentOf(execution.env, proxy),
    serve: listener => lease.serve(listener),
  });
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
      serve: listener => relay(listener, addressOf(new URL(answer.proxy))),
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
  const { session, token } = await gate.createSession({
    profile,
    ...(ttlMs !== undefined && { ttlMs }),
    labels: label,
  });
  return {
    answer: sessionAnswer(gate, trust, session, token),
    serve: listener => gate.adopt(listener),
    usage: async () => gate.metrics.usage(session.session),
    end: async () => {
      try {
        await gate.sessions.revoke(session.session);
      } finally {
        await gate.stop();
        demo?.close();
      }
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

function summarise(id: string, { allowed, denied, injected, scrubbed }: Usage): void {
  console.error(
    `stubgate: session ${id}: ${allowed} requests allowed, ${denied} denied; ` +
      `secrets injected ${injected} times, removed from answers ${scrubbed} times`,
  );
}
