import { Registry } from '../registry.ts';
import { gcpIdToken } from './gcp-id-token.ts';
import { githubApp } from './github-app.ts';
import type { Minter } from './minter.ts';
import { oauth2 } from './oauth2.ts';
import { tokenExchange } from './token-exchange.ts';

export const minters = new Registry<Minter>([githubApp, oauth2, gcpIdToken, tokenExchange]);

/** Options of a minter that say where a further secret is, `<vault>:<id>`. */
export const REF_KEYS = ['client_secret', 'actor_token'] as const;
