import type { CredentialRow, InjectRow, Preset, RuleRow } from './preset.ts';

/** A configuration that holds the presets, in YAML. Without presets it allows nothing. */
export function configText(presets: readonly Preset[]): string {
  const credentials = presets.flatMap(preset => Object.entries(preset.credentials).map(credentialText));
  const rules = presets.map(
    preset =>
      `\n${preset.note === undefined ? '' : comment(preset.note)}${preset.rules.map(ruleText).join('')}`,
  );
  return `# yaml-language-server: $schema=./stubgate.schema.json
version: 1

listen:
  proxy: 127.0.0.1:8080     # for sandboxes: HTTPS_PROXY
  admin: 127.0.0.1:8081     # for you; never reachable from a sandbox
ca: { dir: ./certs }        # made on the first start
audit: { file: ./audit.jsonl }

# No secret stands in this file. \`from\` says where one is read: env:VARIABLE of the gate's own environment,
# file:/path, or <vault>:<id> of an entry in \`vaults\`. The sandbox finds a stub in the variable \`stub.env\`.
credentials:${credentials.length === 0 ? ' {}\n' : `\n${credentials.join('')}`}
# The first rule that matches decides; what no rule matches is denied.
# *.example.com is any name below example.com, not example.com itself. In a path * stays in a segment, ** does not.
rules:${rules.length === 0 ? ' []\n' : rules.join('')}
# Profiles are named selections of the rules; without them there is one, "default", with all rules.
# profiles:
#   readonly: { rules: [docs], ttl: 1h }

# upstream:
#   ca_file: ./corporate-ca.pem                       # added to the system's trust
#   proxy: http://proxy.example.com:3128              # the way out, if there is but one
`;
}

/** The cases of the presets, as \`stubgate test\` runs them. */
export function casesText(presets: readonly Preset[]): string {
  const cases = presets.flatMap(({ rules, allows, denies }) => [
    ...Object.entries(allows).flatMap(([rule, requests]) => {
      const inject = rules.find(({ name }) => name === rule)?.inject ?? [];
      return requests.map(request => allowedText(request, rule, inject));
    }),
    ...denies.map(
      request =>
        `  - request: ${scalar(request)}\n    expect: { verdict: deny, reason: no_rule, rule: null }\n`,
    ),
  ]);
  return `# What stubgate.yaml is meant to allow and to deny: run "stubgate test" after each change.
version: 1
cases:
${cases.join('')}`;
}

function allowedText(request: string, rule: string, inject: readonly InjectRow[]): string {
  const injected = inject.map(({ credential, as }) => flow({ credential, as }));
  return `  - request: ${scalar(request)}\n    expect: { verdict: allow, rule: ${rule}, inject: [${injected.join(', ')}] }\n`;
}

function credentialText([name, { from, variable, shape, mint }]: [string, CredentialRow]): string {
  const lines = [
    `  ${name}:`,
    `    from: ${scalar(from ?? `env:${variable}`)}`,
    `    stub: ${flow({ env: variable, ...(shape !== undefined && { shape }) })}`,
    ...(mint
      ? ['    mint:', ...Object.entries(mint).map(([key, value]) => `      ${key}: ${scalar(value)}`)]
      : []),
  ];
  return `${lines.join('\n')}\n`;
}

export function ruleText({ name, inject, allow_range: range, ...lists }: RuleRow): string {
  const lines = [
    `  - name: ${scalar(name)}`,
    ...Object.entries(lists).map(([key, items]) => `    ${key}: ${flow(items)}`),
    ...(range ? ['    allow_range: true'] : []),
    ...(inject ? [`    inject: ${flow(inject)}`] : []),
  ];
  return `${lines.join('\n')}\n`;
}

/** YAML in one line. */
export function flow(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(flow).join(', ')}]`;
  if (typeof value === 'string') return scalar(value);
  if (typeof value !== 'object' || value === null) return String(value);
  const entries = Object.entries(value).map(([key, item]) => `${key}: ${flow(item)}`);
  return `{ ${entries.join(', ')} }`;
}

/** Plain where YAML reads it as the same text; a number stays one. */
export function scalar(text: string): string {
  const isPlain = /^(?:\/|[A-Za-z])[\w./:@%~-]*(?: https?:\/\/[\w./:@%~-]*)?$|^\d{1,5}$/.test(text);
  return isPlain && !/^(?:true|false|null|yes|no|on|off)$|:$/i.test(text) ? text : JSON.stringify(text);
}

const WIDTH = 116;

function comment(text: string): string {
  const lines: string[] = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1) as string;
    if (line.length + word.length >= WIDTH) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines.map(line => `  # ${line}\n`).join('');
}
