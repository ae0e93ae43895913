import type { TokenCredential, TokenCredentialOptions } from '@azure/identity';
import { z } from 'zod';
import { VaultError } from '../../types.ts';
import { filePath, oneOf, readFileSource, readSource, variable } from '../source.ts';

const uuid = (what: string) =>
  z
    .string()
    .regex(
      /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i,
      `must be the ${what} id, such as 00000000-0000-0000-0000-000000000000`,
    );
const tenant = () => uuid('tenant').describe('Id of the Entra tenant (directory).');
const clientId = () => uuid('client').describe('Client id of the application.');
const identity = () => uuid('client').optional().describe('Client id of a user-assigned identity.');

/** How the gate proves to Entra who it is. Secrets are named by file or variable, never written. */
export const authSchema = z
  .discriminatedUnion(
    'method',
    [
      z.strictObject({ method: z.literal('ambient'), client_id: identity() }),
      z.strictObject({ method: z.literal('managed-identity'), client_id: identity() }),
      z.strictObject({
        method: z.literal('workload-identity'),
        tenant: tenant(),
        client_id: clientId(),
        token_file: filePath().describe('File of the federated token, read anew for each login.'),
      }),
      z
        .strictObject({
          method: z.literal('client-secret'),
          tenant: tenant(),
          client_id: clientId(),
          secret_file: filePath().optional().describe('File that holds the client secret.'),
          secret_env: variable().optional().describe('Variable of the gate that holds the client secret.'),
        })
        .refine(oneOf('secret_file', 'secret_env'), 'write one of secret_file and secret_env'),
      z.strictObject({
        method: z.literal('client-certificate'),
        tenant: tenant(),
        client_id: clientId(),
        certificate_file: filePath().describe('PEM file of the certificate and its private key.'),
      }),
    ],
    {
      error:
        'is not known; write { method: ambient }, managed-identity, workload-identity, client-secret or client-certificate',
    },
  )
  .describe(
    'How the gate logs in; default ambient: what AKS mounts (AZURE_FEDERATED_TOKEN_FILE), else AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH, else the managed identity.',
  );
export type Auth = z.output<typeof authSchema>;

/** Of Azure's chain: what they hold, or lead to, is the gate's. */
const AMBIENT = [
  'AZURE_CLIENT_SECRET',
  'AZURE_CLIENT_CERTIFICATE_PATH',
  'AZURE_CLIENT_CERTIFICATE_PASSWORD',
  'AZURE_FEDERATED_TOKEN_FILE',
  'IDENTITY_ENDPOINT',
  'IDENTITY_HEADER',
  'MSI_ENDPOINT',
  'MSI_SECRET',
];

/** Variables that a login reads. */
export function variablesOf(auth: Auth): readonly string[] {
  if (auth.method === 'client-secret') return auth.secret_env === undefined ? [] : [auth.secret_env];
  return auth.method === 'ambient' || auth.method === 'managed-identity' ? AMBIENT : [];
}

/** A login with everything that it needs read; another `key` is another login. */
export interface Proof {
  readonly key: string;
  /** Of the identity; undefined if only Azure knows it. */
  readonly tenant: string | undefined;
  open(options: TokenCredentialOptions): Promise<TokenCredential>;
}

/** What the gate has to prove itself with now, read anew so that a rotated secret is seen. Throws VaultError. */
export async function prove(auth: Auth): Promise<Proof> {
  switch (auth.method) {
    case 'ambient':
      return ambient(auth.client_id);
    case 'managed-identity':
      return managed(auth.client_id);
    case 'workload-identity':
      return workload(auth.tenant, auth.client_id, auth.token_file);
    case 'client-secret': {
      const { secret_file: file, secret_env: env } = auth;
      return secret(auth.tenant, auth.client_id, await readSource({ name: 'secret', file, env }));
    }
    case 'client-certificate':
      return certificate(
        auth.tenant,
        auth.client_id,
        await readFileSource({ name: 'certificate', file: auth.certificate_file }),
      );
  }
}

/** What is configured decides, not what answers: one login, and one fault that can be told. */
async function ambient(identityId: string | undefined): Promise<Proof> {
  const {
    AZURE_TENANT_ID: ofTenant = '',
    AZURE_CLIENT_ID: id = '',
    AZURE_CLIENT_SECRET: value = '',
    AZURE_CLIENT_CERTIFICATE_PATH: path = '',
    AZURE_CLIENT_CERTIFICATE_PASSWORD: password,
    AZURE_FEDERATED_TOKEN_FILE: tokenFile = '',
  } = process.env;
  if (ofTenant !== '' && id !== '') {
    if (tokenFile !== '') return workload(ofTenant, identityId ?? id, tokenFile);
    if (value !== '') return secret(ofTenant, id, value);
    if (path !== '')
      return certificate(ofTenant, id, await readFileSource({ name: 'certificate', file: path }), password);
  }
  return managed(identityId ?? (id === '' ? undefined : id));
}

function managed(id: string | undefined): Proof {
  return {
    key: `managed ${id ?? ''}`,
    tenant: undefined,
    open: async options => {
      const { ManagedIdentityCredential } = await import('@azure/identity');
      return id === undefined
        ? new ManagedIdentityCredential(options)
        : new ManagedIdentityCredential({ ...options, clientId: id });
    },
  };
}

function workload(tenantId: string, id: string, tokenFilePath: string): Proof {
  return {
    key: `workload ${tenantId} ${id} ${tokenFilePath}`,
    tenant: tenantId,
    open: async options => {
      const { WorkloadIdentityCredential } = await import('@azure/identity');
      return new WorkloadIdentityCredential({ ...options, tenantId, clientId: id, tokenFilePath });
    },
  };
}

function secret(tenantId: string, id: string, value: string): Proof {
  return {
    key: `secret ${tenantId} ${id} ${value}`,
    tenant: tenantId,
    open: async options => {
      const { ClientSecretCredential } = await import('@azure/identity');
      return new ClientSecretCredential(tenantId, id, value, options);
    },
  };
}

function certificate(tenantId: string, id: string, pem: string, password?: string): Proof {
  if (!/-----BEGIN CERTIFICATE-----/.test(pem) || !/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(pem))
    throw new VaultError(
      'unavailable',
      'the file of the certificate lacks the certificate or its private key; write both into it, in PEM',
    );
  return {
    key: `certificate ${tenantId} ${id} ${pem}`,
    tenant: tenantId,
    open: async options => {
      const { ClientCertificateCredential } = await import('@azure/identity');
      const pair = { certificate: pem, ...(password !== undefined && { certificatePassword: password }) };
      return new ClientCertificateCredential(tenantId, id, pair, options);
    },
  };
}
