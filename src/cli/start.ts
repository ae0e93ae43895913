import { flushCompileCache } from 'node:module';
import { relative } from 'node:path';
import { type Command, Option } from 'commander';
import type { Gate } from '../app.ts';
import type { Steered } from '../app/gate.ts';
import type { Log } from '../types.ts';
import type { Admin } from '../admin/server.ts';
import type { TrustFiles } from '../admin/environment.ts';
import { writeTrustFiles } from '../admin/trust.ts';
import { sessionAnswer } from '../admin/wiring.ts';
import { loadPolicy, type Policy } from '../config/load.ts';
import type { Config } from '../config/types.ts';
import { DEMO_HOST, type Demo, demoFingerprint, startDemo, writeDemoConfig } from './demo.ts';
import { UsageError } from './fail.ts';
import { configOption, requireConfig } from './find-config.ts';
import { harden } from './harden.ts';
import { tuneHeap } from './heap.ts';
import { createLog, type Level, LEVELS } from './log.ts';
import { shellQuote, table } from './output.ts';
import { version } from './version.ts';
import { countOf, spawnWorker, workersOption } from './worker.ts';

interface StartOptions {
  config?: string;
  demo?: boolean;
  workers?: string;
  logLevel: Level;
}

/** A gate, be it this process or several. */
interface Started {
  readonly gate: Steered & { readonly caFile: string; readonly bundleFile: string; stop(): Promise<void> };
  /** On SIGHUP. */
  readonly reload: () => void;
  /** Settles when all processes serve. */
  readonly launch: () => Promise<void>;
}

export function startVerb(program: Command): void {
  program
    .command('start')
    .description('run the gate in the foreground; SIGHUP reloads, SIGTERM drains')
    .addOption(configOption())
    .option('--demo', 'with an upstream on loopback that shows what it receives, and commands to try')
    .option('--workers <count>', 'processes that serve the proxy, or auto (else what listen.workers says)')
    .addOption(new Option('--log-level <level>', 'the least that is logged').choices(LEVELS).default('info'))
    .addHelpText('after', '\nExample:\n  stubgate start --config config/stubgate.yaml')
    .action(start);
}

async function start(options: StartOptions): Promise<void> {
  tuneHeap();
  harden();
  process.umask(0o077);
  const log = createLog(process.stderr, options.logLevel);
  process.on('uncaughtException', error => {
    log.error('the gate failed, and ends', { cause: error });
    process.exit(1);
  });
  const configFile = options.demo ? demoConfig(options.config) : requireConfig(options.config);
  const policy = loadPolicy(configFile);
  const workers = workersOf(options, policy.config);
  const demo = options.demo ? await startDemo(policy.config) : undefined;
  // Not before the process is hardened, nor for a mere --help.
  const { startAdmin } = await import('../admin/server.ts');
  const { gate, reload, launch } =
    workers > 1
      ? await startWorkers(policy, workers, log, options.logLevel)
      : await startAlone(policy.config, log, demo);
  const trust = writeTrustFiles(gate.caFile, gate.bundleFile);
  let admin: Admin;
  try {
    await launch();
    admin = await startAdmin(gate, trust, log);
  } catch (error) {
    await gate.stop();
    throw error;
  }
  stopOnSignal(gate, admin, log, () => demo?.close());
  process.on('SIGHUP', reload);
  if (demo) console.error(await tryThis(gate, trust));
  announce(gate, admin, log, workers);
  // One that is killed later leaves it to the next one, too.
  setImmediate(flushCompileCache);
}

function workersOf({ demo, workers }: StartOptions, config: Config): number {
  if (demo && workers !== undefined) throw new UsageError('--demo is one process; leave out --workers');
  if (demo) return 1;
  return countOf(workers === undefined ? config.listen.workers : workersOption(workers));
}

async function startAlone(config: Config, log: Log, demo: Demo | undefined): Promise<Started> {
  const { startGate } = await import('../app.ts');
  const options = { configFile: config.file, config, log, ...(demo && { extraUpstreams: demo.upstreams }) };
  const gate = await startGate(options);
  return { gate, reload: () => reload(gate, log), launch: () => Promise.resolve() };
}

async function startWorkers(policy: Policy, workers: number, log: Log, level: Level): Promise<Started> {
  const { openPrimary } = await import('../workers/primary.ts');
  const gate = await openPrimary({
    policy,
    workers,
    log,
    spawn: (fd, number) => spawnWorker(fd, number, level),
    onFailed: cause => {
      log.error('no worker can be started: the gate ends', { cause });
      process.exit(1);
    },
  });
  return { gate, reload: () => gate.reload(), launch: () => gate.launch() };
}

/** The one that is there, else one of the demo's own. */
function demoConfig(named: string | undefined): string {
  try {
    return requireConfig(named);
  } catch {
    return writeDemoConfig();
  }
}

function reload(gate: Gate, log: Log): void {
  gate.audit.reopen();
  if (!gate.audit.healthy)
    log.error('the audit cannot be written: every request is refused', { file: gate.config.audit.file });
  gate.reload();
}

function stopOnSignal(gate: Started['gate'], admin: Admin, log: Log, stopped: () => void): void {
  let stopping = false;
  const stop = (signal: string) => {
    if (stopping) process.exit(1);
    stopping = true;
    log.info('stopping: requests under way are finished', { signal });
    admin.drain();
    void gate
      .stop()
      .then(() => admin.close())
      .then(() => {
        stopped();
        process.exit(0);
      });
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
}

/** For a person as a list, for a program as one line of the log. */
function announce(gate: Started['gate'], admin: Admin, log: Log, workers: number): void {
  const { host, port } = gate.address;
  const { config } = gate;
  const facts = {
    proxy: host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`,
    admin: admin.address,
    config: config.file,
    audit: config.audit.file,
    ca: gate.caFile,
    rules: config.rules.length,
    profiles: config.profiles.size,
    ...(workers > 1 && { workers }),
  };
  if (!process.stderr.isTTY) return log.info('ready', facts);
  const rows = Object.entries(facts).map(([name, value]) => [`  ${name}`, `${value}`]);
  console.error(`\n  stubgate ${version()}\n\n${table(rows)}\n\n  ready\n`);
}

/** Three commands for another terminal: what is allowed, what is not, and a stub that is carried elsewhere. */
async function tryThis(gate: Steered, trust: TrustFiles): Promise<string> {
  const rule = gate.config.rules.find(({ hosts }) => hosts.includes(DEMO_HOST));
  const profile = [...gate.config.profiles.values()].find(({ rules }) => rule && rules.includes(rule.name));
  const credential = rule?.injections[0]?.credential;
  if (!profile || credential === undefined)
    return `--demo needs a rule for ${DEMO_HOST} that injects a credential`;
  const { session, token } = await gate.createSession({ profile: profile.name });
  const { proxy } = sessionAnswer(gate, trust, session, token);
  const curl = `curl --cacert ${shellQuote(fromHere(trust.ca))} --proxy ${proxy}`;
  const stub = session.stubs.get(credential);
  return `
  Paste these into another terminal:

  1. Allowed. The upstream received the secret (sha256 ${demoFingerprint()}…); its echo comes back as the stub.
     ${curl} -H 'Authorization: Bearer ${stub}' https://${DEMO_HOST}/hello

  2. Denied: no rule names the host; it is neither resolved nor dialled.
     ${curl} https://example.com/

  3. Refused: the stub is sent to another host.
     ${curl} -H 'Authorization: Bearer ${stub}' https://example.com/

  Any other command:  stubgate run --config ${shellQuote(fromHere(gate.config.file))} -- CMD
`;
}

function fromHere(file: string): string {
  const path = relative('', file);
  return path.startsWith('..') ? file : path;
}
