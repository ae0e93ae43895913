import { readFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import type { SessionAnswer } from '../admin/wiring.ts';
import { loadConfig } from '../config/load.ts';
import { adminClient } from './client.ts';
import { configOption, requireConfig } from './find-config.ts';
import { collectLabel, print, printJson, shellQuote, table } from './output.ts';

interface CreateOptions {
  config?: string;
  profile: string;
  ttl?: string;
  sub?: string;
  act?: string;
  label: Record<string, string>;
  subjectTokenFile?: string;
  format: 'json' | 'env' | 'docker';
}

interface SessionView {
  id: string;
  state: string;
  profile: string;
  sub: string | null;
  act: string | null;
  expires_at: string;
  usage: { allowed: number; denied: number };
}

interface ViewOptions {
  config?: string;
  json?: boolean;
}

export function sessionVerb(program: Command): void {
  const session = program
    .command('session')
    .description('create, list, show and revoke sessions of a running gate')
    .addHelpText('after', '\nExample:\n  eval "$(stubgate session create --format env)"');
  session
    .command('create')
    .description('print what a sandbox needs: its proxy, CA and stubs')
    .addOption(configOption())
    .option('--profile <name>', 'the rules it runs under', 'default')
    .option('--ttl <duration>', 'how long it lives, such as 30m; at most what its profile allows')
    .option('--sub <user>', 'on whose behalf')
    .option('--act <agent>', 'which agent')
    .option('--label <name=value>', 'for the audit; may be repeated', collectLabel, {})
    .option('--subject-token-file <path>', 'a token that the gate exchanges on its behalf; - for stdin')
    .addOption(
      new Option('--format <format>', 'env: for a shell; docker: for --env-file')
        .choices(['json', 'env', 'docker'])
        .default('json'),
    )
    .addHelpText(
      'after',
      '\nExample:\n  stubgate session create --ttl 30m --sub alice --label run=7 --format env',
    )
    .action(create);
  session
    .command('list')
    .description('sessions that are alive or ended lately')
    .addOption(configOption())
    .option('--json', 'for programs')
    .addHelpText('after', '\nExample:\n  stubgate session list --json')
    .action(list);
  session
    .command('show')
    .argument('<id>')
    .description('one session, and what it did')
    .addOption(configOption())
    .option('--json', 'for programs (it always is JSON)')
    .addHelpText('after', '\nExample:\n  stubgate session show s_4Fh2kq9XbT0a')
    .action(show);
  session
    .command('revoke')
    .argument('<id>')
    .description('end a session and its open tunnels')
    .addOption(configOption())
    .addHelpText('after', '\nExample:\n  stubgate session revoke s_4Fh2kq9XbT0a')
    .action(revoke);
}

const client = (config: string | undefined) => adminClient(loadConfig(requireConfig(config)));
const pathOf = (id: string): string => `/v1/sessions/${encodeURIComponent(id)}`;

async function create(options: CreateOptions): Promise<void> {
  const { config, format, label, subjectTokenFile: file, ...wanted } = options;
  const answer = (await client(config).call('POST', '/v1/sessions', {
    ...wanted,
    labels: label,
    ...(file !== undefined && { subject_token: subjectToken(file) }),
  })) as SessionAnswer;
  const variables = Object.entries(answer.env);
  if (format === 'json') printJson(answer);
  else if (format === 'env')
    print(variables.map(([name, value]) => `export ${name}=${shellQuote(value)}`).join('\n'));
  else {
    print(variables.map(([name, value]) => `${name}=${value}`).join('\n'));
    const files = [...new Set(variables.map(([, value]) => value).filter(value => value.startsWith('/')))];
    console.error(`mount: ${files.map(file => `-v ${shellQuote(`${file}:${file}:ro`)}`).join(' ')}`);
  }
}

/** Never from an argument, which every user of the machine can read. */
function subjectToken(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8').trim();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const from = file === '-' ? 'stdin' : file;
    throw new Error(`the subject token cannot be read from ${from}: ${code}`, { cause });
  }
}

async function list({ config, json }: ViewOptions): Promise<void> {
  const answer = (await client(config).call('GET', '/v1/sessions')) as { sessions: SessionView[] };
  if (json) {
    printJson(answer);
    return;
  }
  const rows = answer.sessions.map(session => [
    session.id,
    session.state,
    session.profile,
    session.sub ?? '-',
    session.act ?? '-',
    session.expires_at,
    `${session.usage.allowed}`,
    `${session.usage.denied}`,
  ]);
  print(table([['ID', 'STATE', 'PROFILE', 'SUB', 'ACT', 'EXPIRES', 'ALLOWED', 'DENIED'], ...rows]));
}

async function show(id: string, { config }: ViewOptions): Promise<void> {
  printJson(await client(config).call('GET', pathOf(id)));
}

async function revoke(id: string, { config }: ViewOptions): Promise<void> {
  await client(config).call('DELETE', pathOf(id));
  print(`revoked ${id}`);
}
