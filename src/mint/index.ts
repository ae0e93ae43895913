import { Registry } from '../registry.ts';
import { githubApp } from './github-app.ts';
import type { Minter } from './minter.ts';
import { oauth2 } from './oauth2.ts';

export const minters = new Registry<Minter>([githubApp, oauth2]);

/** Options of a minter that say where a further secret is, `<vault>:<id>`. */
export const REF_KEYS = ['client_secret'] as const;
