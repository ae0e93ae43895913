import { Registry } from '../registry.ts';
import { githubApp } from './github-app.ts';
import type { Minter } from './minter.ts';

export const minters = new Registry<Minter>([githubApp]);

/** Options of a minter that say where a further secret is, `<vault>:<id>`. */
export const REF_KEYS = ['client_secret'] as const;
