import { canary } from '../support/canary.ts';
import { type LocalGate, startTestGate, type TestSession } from '../support/gate.ts';
import { testCa } from '../support/pki.ts';
import type { GateSetup } from '../support/setup.ts';
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
  /** More rules, asked before ours; `port` is the upstream's. */
  rules?: (port: number) => GateSetup['rules'];
  /** More top-level keys. */
  config?: GateSetup['config'];
  /** More keys of the section `upstream`. */
  upstream?: Readonly<Record<string, unknown>>;
  credentials?: GateSetup['credentials'];
  captured?: GateSetup['captured'];
  /** Host → where it is, besides the scene's own. */
  resolve?: Readonly<Record<string, string>>;
  /** Instead of the scene's own table of names. */
  lookup?: (host: string) => Promise<readonly string[]>;
}

/** A running gate in front of recording upstreams. */
export async function openScene(options: SceneOptions = {}): Promise<Scene> {
  const secret = canary('key-');
  const upstream = await startRecorder({ hosts: HOSTS });
  const plain = await startRecorder({});
  const lookups: string[] = [];
  const names = new Map<string, readonly string[]>();
  const { rules, config, credentials, captured = {}, resolve } = options;
  const gate = await startTestGate(
    {
      credentials: { api: { secret, env: 'API_KEY' }, ...credentials },
      captured,
      rules: [...(rules?.(upstream.port) ?? []), ...RULES],
      config: {
        upstream: {
          ca_file: (await testCa()).file,
          resolve: {
            ...Object.fromEntries(HOSTS.map(host => [host, upstream.address])),
            'plain.test': plain.address,
            ...resolve,
          },
          ...options.upstream,
        },
        ...config,
      },
    },
    {
      lookup:
        options.lookup ??
        (async host => {
          lookups.push(host);
          const found = names.get(host);
          if (!found) throw new Error(`${host} is not in the test's table`);
          return found;
        }),
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
