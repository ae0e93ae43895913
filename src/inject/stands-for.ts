import type { Session } from '../types.ts';
import { AWS_SHAPE } from './shape.ts';
import type { StubKey } from './stub.ts';

const ID = 'ACCESS_KEY_ID';

/** Variables that hold the stub of a credential, or the parts of one. */
export function variableNames({ env, shape }: { readonly env?: string; readonly shape: string }): string[] {
  if (env === undefined) return [];
  if (shape !== AWS_SHAPE) return [env];
  return [ID, 'SECRET_ACCESS_KEY', 'SESSION_TOKEN'].map(part => env.slice(0, -ID.length) + part);
}

/** Why a variable cannot hold the access key id of a stub: the names of its other parts are made of it. */
export function awsVariableFault(env: string): string | undefined {
  if (env.endsWith(ID)) return undefined;
  return `cannot name the keys of shape aws; write AWS_ACCESS_KEY_ID, and AWS_SECRET_ACCESS_KEY is set too`;
}

/** Environment variable → what a sandbox finds in it. */
export function stubVariables(
  of: { readonly env?: string; readonly shape: string },
  stub: string,
  key: StubKey,
): Record<string, string> {
  const names = variableNames(of);
  // The keys have no session token: one that the sandbox inherits would not fit them.
  const values = names.length > 1 ? [key.accessKeyId(stub), stub, ''] : [stub];
  return Object.fromEntries(names.map((name, i) => [name, values[i] as string]));
}

/** What stands in a response for the secret of that name, or for a part of one; empty if nothing does. */
export function standsFor({ stubs }: Pick<Session, 'stubs'>, name: string, key: StubKey): string {
  const stub = stubs.get(name);
  if (stub !== undefined) return stub;
  const whole = name.endsWith('#AccessKeyId') ? stubs.get(name.slice(0, name.lastIndexOf('#'))) : undefined;
  return whole === undefined ? '' : key.accessKeyId(whole);
}
