import { z } from 'zod';
import { AWS_REGION, AWS_VARIABLES } from '../../aws.ts';
import { filePath, oneOf, readSource, type Source, variable } from '../source.ts';
import { signedIdentity } from './aws.ts';

/** Path of a mount or of a namespace, such as `team-a/kv`. */
export const mountPath = () =>
  z
    .string()
    .regex(
      /^(?!\.\.?(\/|$))[\w.@~-]+(\/(?!\.\.?(\/|$))[\w.@~-]+)*$/,
      'must be the path of a mount, such as team-a/kv',
    );

const role = () => z.string().regex(/^[\x21-\x7e]+$/, 'must be the name of a role');
const KUBERNETES_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token';

/** How the gate proves to Vault who it is. Tokens and secret ids are named by file or variable, never written. */
export const authSchema = z
  .discriminatedUnion(
    'method',
    [
      z
        .strictObject({
          method: z.literal('token'),
          token_file: filePath()
            .optional()
            .describe('File that holds a token, such as a Vault Agent writes.'),
          token_env: variable().optional().describe('Variable of the gate that holds a token.'),
        })
        .refine(oneOf('token_file', 'token_env'), 'write one of token_file and token_env'),
      z
        .strictObject({
          method: z.literal('approle'),
          mount: mountPath().default('approle').describe('Where the method is mounted (default approle).'),
          role_id: role().optional().describe('The role id; it is no secret.'),
          role_id_file: filePath().optional().describe('File that holds the role id.'),
          role_id_env: variable().optional().describe('Variable of the gate that holds the role id.'),
          secret_id_file: filePath().optional().describe('File that holds the secret id.'),
          secret_id_env: variable().optional().describe('Variable of the gate that holds the secret id.'),
        })
        .refine(
          oneOf('role_id', 'role_id_file', 'role_id_env'),
          'write one of role_id, role_id_file and role_id_env',
        )
        .refine(oneOf('secret_id_file', 'secret_id_env'), 'write one of secret_id_file and secret_id_env'),
      z.strictObject({
        method: z.literal('kubernetes'),
        mount: mountPath()
          .default('kubernetes')
          .describe('Where the method is mounted (default kubernetes).'),
        role: role().describe('The role to log in with.'),
        token_file: filePath()
          .default(KUBERNETES_TOKEN)
          .describe('File of the service account’s token (default: where Kubernetes mounts it).'),
      }),
      z
        .strictObject({
          method: z.literal('jwt'),
          mount: mountPath().default('jwt').describe('Where the method is mounted (default jwt).'),
          role: role().describe('The role to log in with.'),
          token_file: filePath().optional().describe('File that holds the JWT.'),
          token_env: variable().optional().describe('Variable of the gate that holds the JWT.'),
        })
        .refine(oneOf('token_file', 'token_env'), 'write one of token_file and token_env'),
      z.strictObject({
        method: z.literal('aws'),
        mount: mountPath().default('aws').describe('Where the method is mounted (default aws).'),
        role: role().describe('The role to log in with, of the type iam.'),
        region: z
          .string()
          .regex(AWS_REGION, 'is not a region; write one such as eu-west-1')
          .optional()
          .describe('Region whose STS Vault asks (default: the global one, sts.amazonaws.com, as in Vault).'),
        server_id: z
          .string()
          .regex(/^[\x21-\x7e]{1,255}$/, 'is not an id; write what Vault has as iam_server_id_header_value')
          .optional()
          .describe('X-Vault-AWS-IAM-Server-ID, if Vault wants it.'),
      }),
    ],
    {
      error: ({ input }) =>
        `is ${input === undefined ? 'missing' : 'not known'}; write { method: token, … }, approle, kubernetes, jwt or aws`,
    },
  )
  .describe('How the gate logs in.');

export type Auth = z.output<typeof authSchema>;

/** What a login sends, and where to. */
export interface LoginRequest {
  /** Such as `auth/approle/login`. */
  readonly path: string;
  readonly body: Readonly<Record<string, string>>;
}

/** The token itself, or the login that gives one. Files and variables are read anew. Throws VaultError. */
export async function prove(auth: Auth): Promise<string | LoginRequest> {
  switch (auth.method) {
    case 'token':
      return readSource(tokenSource(auth, false));
    case 'approle':
      return {
        path: `auth/${auth.mount}/login`,
        body: {
          role_id:
            auth.role_id ??
            (await readSource({
              name: 'role_id',
              file: auth.role_id_file,
              env: auth.role_id_env,
              shared: true,
            })),
          secret_id: await readSource({
            name: 'secret_id',
            file: auth.secret_id_file,
            env: auth.secret_id_env,
          }),
        },
      };
    case 'aws':
      return { path: `auth/${auth.mount}/login`, body: await signedIdentity(auth) };
    default:
      return {
        path: `auth/${auth.mount}/login`,
        body: { role: auth.role, jwt: await readSource(tokenSource(auth, true)) },
      };
  }
}

/** Variables of the gate that a login reads. */
export function authVariables(auth: Auth): string[] {
  if (auth.method === 'aws') return [...AWS_VARIABLES];
  const options: Readonly<Record<string, string | undefined>> = auth;
  return Object.keys(options)
    .filter(key => key.endsWith('_env'))
    .map(key => options[key])
    .filter(name => name !== undefined);
}

function tokenSource(
  { token_file, token_env }: { token_file?: string | undefined; token_env?: string | undefined },
  shared: boolean,
): Source {
  return { name: 'token', file: token_file, env: token_env, shared };
}
