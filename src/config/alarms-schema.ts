import { z } from 'zod';
import type { AlarmOptions } from '../alarms/options.ts';
import { endpoint } from '../mint/fields.ts';
import { checked, oneOf, parsed, path } from './fields.ts';
import { parseDuration } from './scalars.ts';
import { looksSecret } from './secrets.ts';

/** What becomes of a session that raised an alarm. */
export const onAlarm = () => oneOf(['log', 'revoke']);

const variable = () =>
  checked('the name of an environment variable', text =>
    /^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(text) && !looksSecret(text)
      ? undefined
      : 'is not the name of an environment variable; write one such as ALARM_SECRET, never the secret itself',
  ).optional();
const file = () => path('a file').optional();

export const alarmsSchema = z
  .strictObject({
    on_alarm: onAlarm()
      .default('log')
      .describe(
        '`log`, or `revoke` to end the session that raised it (default log). A profile may say another.',
      ),
    webhook: endpoint()
      .optional()
      .describe('Where alarms are sent: an https URL without user and query; hosts as in `upstream`.'),
    webhook_file: file().describe('File that holds the URL, query included, if it is a secret itself.'),
    webhook_env: variable().describe('Variable that holds that URL.'),
    secret_file: file().describe('File that holds the key of the signature, 16 characters or more.'),
    secret_env: variable().describe('Variable that holds that key.'),
    timeout: parsed('a time such as 5s, at most 1m', text => {
      const ms = parseDuration(text);
      return ms !== undefined && ms <= 60_000 ? ms : undefined;
    })
      .prefault('5s')
      .describe('What the receiver gets to answer (default 5s).'),
  })
  .superRefine((of, context) => {
    for (const [key, message] of faults(of)) context.addIssue({ code: 'custom', path: [key], message });
  });

type Parsed = z.output<typeof alarmsSchema>;

function* faults(of: Omit<Parsed, 'on_alarm' | 'timeout'>): Generator<readonly [string, string]> {
  const [first, ...others] = (['webhook', 'webhook_file', 'webhook_env'] as const).filter(
    key => of[key] !== undefined,
  );
  for (const key of others) yield [key, `does not go with \`${first}\`; write one of the two`];
  if (of.secret_file !== undefined && of.secret_env !== undefined)
    yield ['secret_env', 'does not go with `secret_file`; write one of the two'];
  const secret = of.secret_file === undefined ? 'secret_env' : 'secret_file';
  if (of[secret] !== undefined && first === undefined) yield [secret, 'goes with `webhook`; write that, too'];
}

/** The checked keys as one thing. `locate`: paths from the folder of the file. */
export function alarmOptions(of: Parsed, locate: (path: string) => string): AlarmOptions {
  const { webhook, webhook_file, webhook_env, secret_file, secret_env } = of;
  const place = (at: string | undefined, env: string | undefined) => ({
    ...(at !== undefined && { file: locate(at) }),
    ...(env !== undefined && { env }),
  });
  const hasUrl = [webhook, webhook_file, webhook_env].some(one => one !== undefined);
  const hasSecret = secret_file !== undefined || secret_env !== undefined;
  return {
    onAlarm: of.on_alarm,
    ...(hasUrl && {
      webhook: {
        url: webhook ?? place(webhook_file, webhook_env),
        ...(hasSecret && { secret: place(secret_file, secret_env) }),
        timeoutMs: of.timeout,
      },
    }),
  };
}
