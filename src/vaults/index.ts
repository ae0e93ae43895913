import { Registry } from '../registry.ts';
import type { Vault } from '../types.ts';
import { env } from './env.ts';
import { exec } from './exec.ts';
import { file } from './file.ts';
import { hashicorpVault } from './hashicorp/index.ts';

export const vaultTypes = new Registry<Vault>([env, file, hashicorpVault, exec]);
