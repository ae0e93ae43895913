import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeTrustFiles } from '../../admin/trust.ts';
import { sessionAnswer } from '../../admin/wiring.ts';
import { type Gate, startGate } from '../../app.ts';
import { type Canary, canariesFor } from '../../proof/canary.ts';
import { KnownSecrets } from '../../proof/known.ts';
import { openStand } from '../../proof/stand.ts';
import { envNames } from '../../vaults/env.ts';
import { createLog } from '../log.ts';
import type { ProgramOptions, Scene } from './scene.ts';

/** Canaries for secrets, and an upstream that shows every request to whoever made it. */
export async function canaryScene({ compiled, profile, inherited }: ProgramOptions): Promise<Scene> {
  const canaries = canariesFor(compiled.credentials.values());
  const log = createLog(process.stderr, 'error');
  const stand = await openStand({ compiled, canaries, protocol: 'HTTP/1.1', log, isForPrograms: true });
  const { session, token } = await stand.open(profile);
  return {
    ...sceneOf(stand.gate, session, token),
    inherited: { ...inherited, ...canaryVariables(compiled, canaries) },
    canaries: () => canaries,
    onNew: () => {},
    close: () => stand.close(),
  };
}

/** What an `env` vault would read: if one of them reaches the command, it is found there. */
function canaryVariables(
  { sources, vaults }: ProgramOptions['compiled'],
  canaries: readonly Canary[],
): Record<string, string> {
  const all = [...sources.values()].flatMap(({ name, ref }) => {
    const value = canaries.find(({ credential }) => credential === name)?.value;
    return value === undefined
      ? []
      : [...envNames([ref], new Map([...vaults].filter(([key]) => key === ref.vault)))].map(
          variable => [variable, value] as const,
        );
  });
  return Object.fromEntries(all);
}

/** The configuration's own vaults and upstreams. */
export async function realScene({ compiled, profile, inherited }: ProgramOptions): Promise<Scene> {
  const known = new KnownSecrets();
  const { sources, vaults } = known.rewrite(compiled);
  const names = compiled.profiles.get(profile)?.credentials ?? [];
  // Known before the command starts, and looked for even if it asks for nothing.
  for (const name of names) {
    const ref = sources.get(name)?.ref;
    if (ref) await vaults.get(ref.vault)?.read(ref, AbortSignal.timeout(10_000));
  }
  const dir = mkdtempSync(join(tmpdir(), 'stubgate-verify-'));
  const gate = await startGate({
    configFile: compiled.config.file,
    log: createLog(process.stderr, 'warn'),
    listen: { host: '127.0.0.1', port: 0 },
    auditFile: join(dir, 'audit.jsonl'),
    rewrite: next => known.rewrite(next),
  });
  const { session, token } = await gate.createSession({ profile, sub: 'stubgate verify' });
  return {
    ...sceneOf(gate, session, token),
    inherited,
    canaries: () => known.all(),
    onNew: told => {
      known.onNew = told;
    },
    close: async () => {
      await gate.sessions.revoke(session.session);
      await gate.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function sceneOf(
  gate: Gate,
  session: Parameters<typeof sessionAnswer>[2],
  token: string,
): Pick<Scene, 'answer' | 'serve' | 'usage'> {
  return {
    answer: sessionAnswer(gate, writeTrustFiles(gate.caFile, gate.bundleFile), session, token),
    serve: listener => gate.adopt(listener),
    usage: () => gate.metrics.usage(session.session),
  };
}
