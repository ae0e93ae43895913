import { join } from 'node:path';
import { vi } from 'vitest';
import { tempFolder } from './temp.ts';
import type { AwsKeys } from './upstreams/aws.ts';

/** No identity of the machine's: no files, no container, and above all no metadata service. */
export function awsNowhere(): Record<string, string> {
  const home = tempFolder('aws-home');
  return {
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_SHARED_CREDENTIALS_FILE: join(home, 'credentials'),
    AWS_CONFIG_FILE: join(home, 'config'),
  };
}

/** The same for this process, until `vi.unstubAllEnvs()`. */
export function isolateAws(): void {
  for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) vi.stubEnv(name, undefined);
  for (const [name, value] of Object.entries(awsNowhere())) vi.stubEnv(name, value);
}

/** The gate's own keys, as variables; undefined: none. */
export function useKeys(keys: AwsKeys | undefined): void {
  vi.stubEnv('AWS_ACCESS_KEY_ID', keys?.AccessKeyId);
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', keys?.SecretAccessKey);
  vi.stubEnv('AWS_SESSION_TOKEN', keys?.SessionToken);
}
