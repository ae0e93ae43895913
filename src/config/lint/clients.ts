import { parseShape } from '../../inject/shape.ts';
import type { Config, Credential } from '../types.ts';
import type { Check } from './finding.ts';

/** A check that a client makes of its token before it sends anything. */
interface ClientCheck {
  readonly client: string;
  /** The variable, or the host of a rule, by which the client is known. */
  readonly env: RegExp;
  readonly host?: string;
  readonly takes: RegExp;
  readonly wants: string;
  readonly shape: string;
}

/** Each as the client's own source has it. */
const CLIENTS: readonly ClientCheck[] = [
  {
    client: 'python-telegram-bot and aiogram',
    env: /^TELEGRAM_(?:BOT_)?(?:API_)?TOKEN$/,
    host: 'api.telegram.org',
    takes: /^\d{3,}:.+$/,
    wants: 'digits, a colon and more',
    shape: 'telegram-bot',
  },
  {
    client: 'twilio-node',
    env: /^TWILIO_ACCOUNT_SID$/,
    takes: /^AC/,
    wants: 'a text that starts with AC',
    shape: '"AC{32}"',
  },
  {
    client: 'the Stripe CLI',
    env: /^STRIPE_API_KEY$/,
    takes: /^[sr]k_[^_]+_.+$/,
    wants: 'a text that starts with sk_ or rk_ and a mode, such as sk_live_',
    shape: 'stripe',
  },
  {
    client: 'the Cloudflare provider of Terraform',
    env: /^(?:CLOUDFLARE|CF)_API_TOKEN$/,
    takes: /[A-Za-z0-9_-]{40}/,
    wants: '40 letters, digits, - and _ in a row',
    shape: '"{40}"',
  },
];

/** Stubs that their clients refuse to send. */
export const checkClients: Check = ({ config }, find) => {
  for (const credential of config.credentials.values()) {
    const stub = exampleOf(credential.stub.shape);
    const refusing = CLIENTS.find(client => isFor(client, credential, config) && !client.takes.test(stub));
    if (!refusing) continue;
    const { client, wants, shape } = refusing;
    const message = `${client} will not take the stub of credential ${credential.name}: it wants ${wants}`;
    find('SG010', ['credentials', credential.name, 'stub'], message, `write shape: ${shape}`);
  }
};

function isFor({ env, host }: ClientCheck, { name, stub }: Credential, { rules }: Config): boolean {
  if (stub.env !== undefined && env.test(stub.env)) return true;
  const injecting = rules.filter(({ injections }) =>
    injections.some(({ credential }) => credential === name),
  );
  return host !== undefined && injecting.some(({ hosts }) => hosts.some(of => of === host));
}

/** What a stub of the shape looks like; each random character is a letter, as it may be. */
function exampleOf(shape: string): string {
  return parseShape(shape)
    .parts.map(part => (typeof part === 'string' ? part : 'x'.repeat(part)))
    .join('');
}
