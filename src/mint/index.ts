import { Registry } from '../registry.ts';
import { awsSts } from './aws-sts.ts';
import { gcpIdToken } from './gcp-id-token.ts';
import { githubApp } from './github-app.ts';
import type { Minter } from './minter.ts';
import { oauth2 } from './oauth2.ts';
import { tokenExchange } from './token-exchange.ts';

export const minters = new Registry<Minter>([githubApp, oauth2, gcpIdToken, tokenExchange, awsSts]);

/** Options of a minter that say where a further secret is, `<vault>:<id>`. */
export const REF_KEYS = ['client_secret', 'actor_token'] as const;

/** Whether what is written under `mint` mints with the gate's own identity where the credential has no `from`. */
export function mintsWithout({ type, web_identity }: Readonly<Record<string, unknown>>): boolean {
  return type === awsSts.type && web_identity !== true;
}
