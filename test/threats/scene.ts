import { canary } from '../support/canary.ts';
import { type LocalGate, startTestGate, type TestSession } from '../support/gate.ts';
import type { CredentialSetup, GateSetup } from '../support/setup.ts';
import { type Recorder, startRecorder } from './recorder.ts';

/** One credential, and each host with a rule of its own; the rest of `*.test` is denied. */
const RULES = [
  { name: 'forbidden', hosts: ['api.test'], action: 'deny', paths: ['/forbidden/**'] },
  { name: 'api', hosts: ['api.test'], inject: [{ credential: 'api', as: 'bearer' }] },
  { name: 'basic', hosts: ['basic.test'], inject: [{ credential: 'api', as: 'basic' }] },
  {
    name: 'git',
    hosts: ['git.test'],
    inject: [{ credential: 'api', as: 'basic', username: 'x-access-token' }],
  },
  { name: 'key', hosts: ['key.test'], inject: [{ credential: 'api', as: 'header', name: 'x-api-key' }] },
  { name: 'query', hosts: ['query.test'], inject: [{ credential: 'api', as: 'query', name: 'key' }] },
  {
    name: 'must',
    hosts: ['must.test'],
    inject: [{ credential: 'api', as: 'bearer', required: true }],
  },
  {
    name: 'always',
    hosts: ['always.test'],
    inject: [{ credential: 'api', as: 'bearer', when: 'always' }],
  },
  { name: 'open', hosts: ['open.test', 'other.test', '*.wild.test'] },
  { name: 'ports', hosts: ['ports.test'], ports: [8443] },
  { name: 'pinned', hosts: ['pinned.test'], action: 'tunnel' },
  { name: 'plain', hosts: ['plain.test'], schemes: ['http'] },
];
const NAMES = ['api', 'basic', 'git', 'key', 'query', 'must', 'always', 'open', 'other', 'ports', 'pinned'];
export const HOSTS = [...NAMES.map(name => `${name}.test`), 'a.wild.test', 'a.b.wild.test'];

export interface Scene {
  readonly gate: LocalGate;
  readonly session: TestSession;
  readonly secret: string;
  readonly stub: string;
  /** TLS, for every name of HOSTS. */
  readonly upstream: Recorder;
  /** Without TLS, for plain.test. */
  readonly plain: Recorder;
  /** Every name that the gate looked up. */
  readonly lookups: string[];
  /** Name → addresses; a name that is not there does not resolve. */
  readonly names: Map<string, readonly string[]>;
  close(): Promise<void>;
}

export interface SceneOptions {
  /** More rules, asked before ours. */
  rules?: GateSetup['rules'];
  config?: GateSetup['config'];
  credential?: Partial<CredentialSetup>;
}

/** A running gate in front of recording upstreams. */
export async function openScene(options: SceneOptions = {}): Promise<Scene> {
  const secret = options.credential?.secret ?? canary('key-');
  const upstream = await startRecorder({ hosts: HOSTS });
  const plain = await startRecorder({});
  const lookups: string[] = [];
  const names = new Map<string, readonly string[]>();
  const gate = await startTestGate(
    {
      credentials: { api: { secret, env: 'API_KEY', ...options.credential } },
      rules: [...(options.rules ?? []), ...RULES],
      upstreams: {
        ...Object.fromEntries(HOSTS.map(host => [host, upstream])),
        'plain.test': plain,
      },
      ...(options.config && { config: options.config }),
    },
    {
      lookup: async host => {
        lookups.push(host);
        const found = names.get(host);
        if (!found) throw new Error(`${host} is not in the test's table`);
        return found;
      },
    },
  );
  const session = await gate.session({ sub: 'octo' });
  return {
    gate,
    session,
    secret,
    stub: session.stubs['API_KEY'] ?? '',
    upstream,
    plain,
    lookups,
    names,
    close: async () => {
      await gate.stop();
      await Promise.all([upstream.close(), plain.close()]);
    },
  };
}
