import { Registry } from '../registry.ts';
import type { Vault } from '../types.ts';
import { awsSecretsManager } from './aws-secrets-manager.ts';
import { azureKeyVault } from './azure/index.ts';
import { env } from './env.ts';
import { exec } from './exec.ts';
import { file } from './file.ts';
import { gcpIdentity } from './google/identity.ts';
import { gcpSecretManager } from './google/index.ts';
import { hashicorpVault } from './hashicorp/index.ts';
import { onepasswordConnect } from './onepassword-connect.ts';

export const vaultTypes = new Registry<Vault>([
  env,
  file,
  hashicorpVault,
  exec,
  onepasswordConnect,
  awsSecretsManager,
  azureKeyVault,
  gcpSecretManager,
  gcpIdentity,
]);
