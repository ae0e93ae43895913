import { expect, onTestFinished } from 'vitest';
import type { AuditEvent } from '../../src/types.ts';
import { canary, leaks } from '../support/canary.ts';
import { cleanEnv, type Env } from '../support/clients.ts';
import { startTestGate, type TestGate, type TestSession } from '../support/gate.ts';
import type { GateSetup } from '../support/setup.ts';
import { type HttpUpstream, startEcho, type Upstream } from '../support/upstream.ts';

/** Closes a stand-in when the test ends. */
export function closing<T extends Upstream>(upstream: T): T {
  onTestFinished(() => upstream.close());
  return upstream;
}

export interface Sandbox<G extends TestGate = TestGate> {
  readonly gate: G;
  readonly session: TestSession;
  /** What a client is started with: nothing inherited, and what the session hands out. */
  readonly env: Env;
}

/** One session with a gate, which is stopped when the test ends. */
export async function enter<G extends TestGate>(gate: G): Promise<Sandbox<G>> {
  onTestFinished(() => gate.stop());
  const session = await gate.session({ sub: 'octo', act: 'test-agent', labels: { run: '7' } });
  return { gate, session, env: cleanEnv(session.env) };
}

/** A gate in this process, and one session with it. */
export async function sandbox(setup: GateSetup): Promise<Sandbox> {
  return enter(await startTestGate(setup));
}

export interface EchoScene extends Sandbox {
  readonly upstream: HttpUpstream;
  readonly secret: string;
  readonly stub: string;
}

export const ECHO_HOST = 'api.corp.test';

/** A gate in front of an upstream that reflects everything; the credential `api` goes into `Authorization: Bearer`. */
export async function echoScene(): Promise<EchoScene> {
  const secret = canary('key-');
  const upstream = closing(await startEcho({ hosts: [ECHO_HOST] }));
  const box = await sandbox({
    credentials: { api: { secret, env: 'API_KEY' } },
    rules: [{ name: 'api', hosts: [ECHO_HOST], inject: [{ credential: 'api', as: 'bearer' }] }],
    upstreams: { [ECHO_HOST]: upstream },
  });
  return { ...box, upstream, secret, stub: box.session.stubs['API_KEY'] ?? '' };
}

/** Nothing that came out on the sandbox's side holds the secret in any spelling. */
export function expectClean(shown: string | Buffer, secret: string): void {
  expect(leaks(shown, secret)).toEqual([]);
}

/** The bearer credential went up as the secret, came back as the stub, and the audit tells of it. */
export async function expectSwapped(scene: EchoScene, shown: string): Promise<void> {
  const { upstream, secret, stub, gate, session } = scene;
  expect(upstream.requests.at(-1)?.headers.authorization).toBe(`Bearer ${secret}`);
  expect(JSON.stringify(upstream.requests)).not.toContain(stub);
  expectClean(shown, secret);
  expect(shown).toContain(stub);
  const [line] = await gate.audit(1);
  expect(line).toMatchObject({
    session: session.id,
    sub: 'octo',
    act: 'test-agent',
    labels: { run: '7' },
    rule: 'api',
    verdict: 'allow',
    reason: null,
    scheme: 'https',
    host: ECHO_HOST,
    port: 443,
    status: 200,
    injected: [{ credential: 'api', placement: 'header authorization' }],
    stubs_seen: 1,
  } satisfies Partial<Record<keyof AuditEvent, unknown>>);
  expect(line?.scrubbed).toBeGreaterThanOrEqual(2);
}
