/** A part of a configuration, as it is written: entries of `credentials` and of `rules`. */
export interface Preset {
  readonly summary: string;
  readonly credentials: string;
  readonly rules: string;
}

/** What a preset is made for. */
export interface PresetContext {
  /** `owner/name` of the repository on GitHub that the command stands in. */
  readonly repository: string | undefined;
  /** The package index that a client's own settings name. Throws an Error that says what to set. */
  readonly registry: (client: 'npm' | 'pip') => URL;
}

export const PRESETS: Readonly<Record<string, (context: PresetContext) => Preset>> = {
  github: ({ repository = 'OWNER/REPOSITORY' }) => ({
    summary: `the API and git, of ${repository}`,
    credentials: `
  github:
    from: env:GITHUB_TOKEN
    stub: { env: GITHUB_TOKEN, shape: github-pat }`,
    rules: `
  - name: github-api
    hosts: [api.github.com]
    methods: [GET, POST, PATCH]
    paths: [/user, /repos/${repository}, "/repos/${repository}/**"]
    inject: [{ credential: github, as: bearer }]
  - name: github-git
    hosts: [github.com]
    methods: [GET, POST]
    paths: ["/${repository}.git/**", "/${repository}/info/refs", "/${repository}/git-*-pack"]
    inject: [{ credential: github, as: basic, username: x-access-token }]`,
  }),

  openai: () => ({
    summary: 'models, answers, embeddings',
    credentials: `
  openai:
    from: env:OPENAI_API_KEY
    stub: { env: OPENAI_API_KEY, shape: "sk-proj-{48}" }`,
    rules: `
  - name: openai
    hosts: [api.openai.com]
    methods: [GET, POST]
    paths: [/v1/models, "/v1/models/*", /v1/responses, "/v1/responses/*", /v1/chat/completions, /v1/embeddings]
    inject: [{ credential: openai, as: bearer }]`,
  }),

  anthropic: () => ({
    summary: 'models and messages',
    credentials: `
  anthropic:
    from: env:ANTHROPIC_API_KEY
    stub: { env: ANTHROPIC_API_KEY, shape: anthropic }`,
    rules: `
  - name: anthropic
    hosts: [api.anthropic.com]
    methods: [GET, POST]
    paths: [/v1/models, "/v1/models/*", /v1/messages, /v1/messages/count_tokens]
    inject: [{ credential: anthropic, as: header, name: x-api-key }]`,
  }),

  npm: ({ registry }) => ({
    summary: 'packages, read only, from the registry that npm is set to',
    credentials: '',
    rules: registryRule('npm', registry('npm')),
  }),

  pip: ({ registry }) => ({
    summary: 'packages, read only, from the index that pip is set to',
    credentials: '',
    rules: `${registryRule('pip', registry('pip'))}
  # An index may keep its files on another host. "stubgate audit tail -f" shows which one pip asks for: allow it too.`,
  }),
};

function registryRule(name: string, url: URL): string {
  const path = url.pathname.replace(/\/*$/, '/**');
  const lines = [`- name: ${name}`, `  hosts: [${JSON.stringify(url.hostname)}]`];
  if (url.port !== '') lines.push(`  ports: [${url.port}]`);
  if (url.protocol === 'http:') lines.push('  schemes: [http]');
  lines.push('  methods: [GET, HEAD]', `  paths: [${JSON.stringify(path)}]`);
  return `\n  ${lines.join('\n  ')}`;
}
