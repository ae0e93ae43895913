import { writeFileSync } from 'node:fs';
import { GROUPS } from './index.ts';
import type { InjectRow, Preset, PresetContext, PresetMaker } from './preset.ts';

const CONTEXT: PresetContext = {
  repository: () => undefined,
  registry: () => new URL('https://your-index.example/'),
};

/** docs/presets.md */
export function presetsPage(): string {
  const count = GROUPS.reduce((sum, { presets }) => sum + Object.keys(presets).length, 0);
  const groups = GROUPS.map(
    ({ title, presets }) => `## ${title}
| preset | of | allows | stub in | placed |
|---|---|---|---|---|
${Object.entries(presets).map(row).join('\n')}

${Object.entries(presets).flatMap(noteOf).join('\n')}`,
  );
  return `# Presets

<!-- Written by "npm run presets" from src/cli/presets; a test compares the two. -->
\`\`\`sh
npx stubgate init --with github,openai,npm    # writes stubgate.yaml and stubgate.cases.yaml
npx stubgate test                             # each case still holds
\`\`\`
${count} presets, each a few rules, its credentials, and the cases that say what they are meant to allow and to deny. They are narrow: what the vendor’s common clients need, and not what publishes, deletes, hands the account on, or reads other secrets. What a rule leaves open all the same stands beside it, here and as a comment in the file. They are a start: take out what your sandbox does not need.

- The credential is read from the variable of the same name as the stub’s, in the gate’s own environment, unless the table says otherwise; write a vault into \`from\` instead ([vaults](vaults.md)).
- Words in capitals, and names that begin with \`your-\`, are yours to replace. The repository is read from the folder’s \`origin\`.
- No package registry is built in: its address is read from the client’s own settings, and \`init\` says how to set it where there is none.
- Placements are as the vendor’s API documents them, and the stub has the form that its own clients take.

${groups.map(group => group.trimEnd()).join('\n\n')}
`;
}

function row([name, make]: [string, PresetMaker]): string {
  const preset = make(CONTEXT);
  const { title, summary, credentials } = preset;
  const variables = Object.values(credentials).map(({ variable, from }) =>
    from === undefined ? `\`${variable}\`` : `\`${variable}\` (from \`${from.replace(/^env:/, '')}\`)`,
  );
  const cells = [
    `\`${name}\``,
    title,
    summary,
    variables.join(', ') || '–',
    placedOf(preset).join(', ') || '–',
  ];
  return `| ${cells.join(' | ')} |`;
}

function placedOf({ rules }: Preset): string[] {
  return [...new Set(rules.flatMap(({ inject = [] }) => inject.map(place)))];
}

function place({ as, name, prefix, username, template }: InjectRow): string {
  if (as === 'header') return `\`${String(name)}: ${String(prefix ?? '')}…\``;
  if (as === 'query') return `\`?${String(name)}=…\``;
  if (as === 'path') return `\`${String(template).replace('{credential}', '…')}\``;
  if (as === 'basic') return `Basic, ${username === undefined ? 'any user' : `user \`${String(username)}\``}`;
  return as === 'bearer' ? 'Bearer' : `\`${as}\``;
}

function noteOf([name, make]: [string, PresetMaker]): string[] {
  const { note } = make(CONTEXT);
  return note === undefined ? [] : [`- \`${name}\`: ${note}`];
}

if (import.meta.main) writeFileSync(new URL('../../../docs/presets.md', import.meta.url), presetsPage());
