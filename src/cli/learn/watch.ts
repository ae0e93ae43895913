import { createReadStream, statSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { inheritableEnvironment } from '../../admin/environment.ts';
import { writeTrustFiles } from '../../admin/trust.ts';
import { sessionAnswer } from '../../admin/wiring.ts';
import { AuditLocked } from '../../audit/lock.ts';
import { compileConfig } from '../../config/compile.ts';
import type { Config } from '../../config/types.ts';
import type { Sighting } from '../../flow/observed.ts';
import { secretVariables } from '../../state/redis/options.ts';
import { envNames } from '../../vaults/env.ts';
import { execute } from '../execute.ts';
import { UsageError } from '../fail.ts';
import { createLog } from '../log.ts';
import { requestOf, type SeenRequest } from './request.ts';

/** Requests whose headers are noted; of further ones only the audit tells. */
const MAX_SIGHTINGS = 200_000;

/** Runs a command behind a gate of its own, and gives what it asked for. Sets the exit code. */
export async function watchedRun(
  [command = '', ...args]: string[],
  config: Config,
  profile: string,
  inherited: NodeJS.ProcessEnv,
): Promise<SeenRequest[]> {
  const compiled = compileConfig(config);
  if (!compiled.profiles.has(profile)) {
    const names = [...compiled.profiles.keys()].join(', ');
    throw new UsageError(`there is no profile "${profile}"; write one of ${names}`);
  }
  const sightings = new Map<string, Sighting>();
  const { gate, auditFile, from } = await startWatching(config, sightings);
  const refs = [...compiled.sources.values()].map(({ ref }) => ref);
  const ofMints = [...compiled.mints.values()].flatMap(({ minter }) => minter.variables ?? []);
  const ofState = secretVariables(config.state);
  const variables = new Set([...envNames(refs, compiled.vaults), ...ofMints, ...ofState]);
  const kept = inheritableEnvironment(inherited, variables);
  try {
    const trust = writeTrustFiles(gate.caFile, gate.bundleFile);
    const { session, token } = await gate.createSession({ profile });
    const { env } = sessionAnswer(gate, trust, session, token);
    try {
      process.exitCode = await execute({ command, args, env: { ...kept, ...env }, stdout: 'stderr' });
    } finally {
      await gate.sessions.revoke(session.session);
    }
  } finally {
    await gate.stop();
  }
  return requestsIn(auditFile, from, sightings);
}

/** The audit is the configuration's, as in any run; `from`: bytes of it that were there before. */
async function startWatching(config: Config, sightings: Map<string, Sighting>) {
  const { startGate } = await import('../../app.ts');
  const start = async (auditFile: string) => {
    const from = statSync(auditFile, { throwIfNoEntry: false })?.size ?? 0;
    const gate = await startGate({
      configFile: config.file,
      config,
      auditFile,
      observe: one => {
        if (sightings.size < MAX_SIGHTINGS) sightings.set(one.requestId, one);
      },
      log: createLog(process.stderr, 'warn'),
      listen: { host: '127.0.0.1', port: 0 },
    });
    return { gate, auditFile, from };
  };
  try {
    return await start(config.audit.file);
  } catch (error) {
    if (!(error instanceof AuditLocked)) throw error;
    return start(`${config.audit.file}.${process.pid}`);
  }
}

/** In the order of the audit; equal ones are one object, because a run may ask the same a million times. */
export async function requestsIn(file: string, from: number, sightings: ReadonlyMap<string, Sighting>) {
  const known = new Map<string, SeenRequest>();
  const requests: SeenRequest[] = [];
  const input = createReadStream(file, { start: from });
  for await (const line of createInterface({ input, crlfDelay: Infinity })) {
    const id = /"request_id":"([^"]+)"/.exec(line)?.[1] ?? '';
    const request = requestOf(line, sightings.get(id));
    if (!request) continue;
    const key = JSON.stringify(request);
    if (!known.has(key)) known.set(key, request);
    requests.push(known.get(key) ?? request);
  }
  return requests;
}
