import { Registry } from '../registry.ts';
import type { Vault } from '../types.ts';
import { env } from './env.ts';
import { file } from './file.ts';

export const vaultTypes = new Registry<Vault>([env, file]);
