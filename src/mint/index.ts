import { awsRegion } from '../aws.ts';
import { Registry } from '../registry.ts';
import { awsSts, stsUrl } from './aws-sts.ts';
import { gcpIdToken } from './gcp-id-token.ts';
import { githubApp } from './github-app.ts';
import type { Minter } from './minter.ts';
import { oauth2 } from './oauth2.ts';
import { tokenExchange } from './token-exchange.ts';

export const minters = new Registry<Minter>([githubApp, oauth2, gcpIdToken, tokenExchange, awsSts]);

/** Options of a minter that say where a further secret is, `<vault>:<id>`. */
export const REF_KEYS = ['client_secret', 'actor_token'] as const;

/** Options of a minter that are URLs which it asks. */
const URL_KEYS = ['token_url', 'revocation_url', 'api', 'endpoint'] as const;

/** Hosts that a minter with these options asks. */
export function hostsAsked(type: string, options: Readonly<Record<string, unknown>>): string[] {
  const urls = URL_KEYS.map(key => options[key]).filter(url => typeof url === 'string');
  const region = awsRegion(options['region'] as string | undefined);
  if (type === awsSts.type && urls.length === 0 && region !== undefined) urls.push(stsUrl(region));
  return urls.map(url => new URL(url).hostname);
}

/** Whether what is written under `mint` needs no `from`: it mints with the gate's own identity, or with the session's. */
export function mintsWithout(written: Readonly<Record<string, unknown>>): boolean {
  return (written['type'] === awsSts.type && written['web_identity'] !== true) || exchangesSession(written);
}

/** Whether what is written under `mint` exchanges the session's own token. */
export function exchangesSession({ type, subject }: Readonly<Record<string, unknown>>): boolean {
  return type === tokenExchange.type && subject === 'session';
}
