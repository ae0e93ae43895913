import type { Session } from '../types.ts';
import { isAwsShape } from './shape.ts';
import type { StubKey } from './stub.ts';

const ID = 'ACCESS_KEY_ID';

/** Variables that hold the stub of a credential, or the parts of one. */
export function variableNames({ env, shape }: { readonly env?: string; readonly shape: string }): string[] {
  if (env === undefined) return [];
  if (!isAwsShape(shape)) return [env];
  return [ID, 'SECRET_ACCESS_KEY', 'SESSION_TOKEN'].map(part => env.slice(0, -ID.length) + part);
}

/** Why a variable cannot hold the access key id of a stub: the names of its other parts are made of it. */
export function awsVariableFault(env: string): string | undefined {
  if (env.endsWith(ID)) return undefined;
  return `cannot name the keys of that shape; write AWS_ACCESS_KEY_ID, and AWS_SECRET_ACCESS_KEY is set too`;
}

/** Environment variable → what a sandbox finds in it. */
export function stubVariables(
  of: { readonly env?: string; readonly shape: string },
  stub: string,
  key: StubKey,
): Record<string, string> {
  const names = variableNames(of);
  // Keys without a session token: one that the sandbox inherits would not fit them.
  const token = of.shape === 'aws-session' ? key.sessionToken(stub) : '';
  const values = isAwsShape(of.shape) ? [key.accessKeyId(stub), stub, token] : [stub];
  return Object.fromEntries(names.map((name, i) => [name, values[i] as string]));
}

/** What stands in a response for the secret of that name, or for a part of one; empty if nothing does. */
export function standsFor(
  { stubs, captured }: Pick<Session, 'stubs' | 'captured'>,
  name: string,
  key: StubKey,
): string {
  const [whole = '', part] = name.split('#');
  const stub = stubs.get(whole) ?? captured?.stubFor(whole);
  if (stub === undefined || part === undefined) return stub ?? '';
  return part === 'SessionToken' ? key.sessionToken(stub) : key.accessKeyId(stub);
}
