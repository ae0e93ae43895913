import { callerOf } from './aws.ts';
import type { VaultAws } from './vault.ts';

/** Fields beginning with X-Amz- that Vault takes unless it is told of more. */
const ALLOWED = new Set(
  'x-amz-algorithm x-amz-content-sha256 x-amz-credential x-amz-date x-amz-security-token x-amz-signature x-amz-signedheaders'.split(
    ' ',
  ),
);

/**
 * What is wrong with a login by IAM (developer.hashicorp.com/vault/api-docs/auth/aws#login), as Vault and the STS that
 * it would send the request to judge it; undefined: nothing.
 */
export async function iamFault(
  sent: Readonly<Record<string, string>>,
  aws: VaultAws,
): Promise<string | undefined> {
  const { keys, region, serverId } = aws;
  const names = 'iam_http_request_method iam_request_body iam_request_headers iam_request_url role';
  if (Object.keys(sent).toSorted().join(' ') !== names) return 'other fields';
  if (sent['role'] !== 'stubgate') return 'another role';
  const decoded = (name: string) => Buffer.from(sent[name] ?? '', 'base64').toString();
  const host = region === undefined ? 'sts.amazonaws.com' : `sts.${region}.amazonaws.com`;
  if (decoded('iam_request_url') !== `https://${host}/`) return 'another URL';
  const body = decoded('iam_request_body');
  if (body !== 'Action=GetCallerIdentity&Version=2011-06-15') return 'another body';
  const method = sent['iam_http_request_method'] ?? '';
  if (method !== 'POST') return 'another method';
  const written = JSON.parse(decoded('iam_request_headers')) as Record<string, string>;
  const headers = Object.fromEntries(
    Object.entries(written).map(([name, value]) => [name.toLowerCase(), value]),
  );
  const foreign = Object.keys(headers).find(name => name.startsWith('x-amz-') && !ALLOWED.has(name));
  if (foreign !== undefined) return `the field ${foreign}`;
  if (headers['host'] !== host) return 'another Host';
  const caller = await callerOf(
    { method, url: '/', headers, body: Buffer.from(body) },
    keys,
    'sts',
    region ?? 'us-east-1',
  );
  if ('fault' in caller) return caller.fault;
  if (headers['x-vault-aws-iam-server-id'] !== serverId) return 'another server id';
  if (serverId !== undefined && !caller.signed.includes('x-vault-aws-iam-server-id'))
    return 'no signed server id';
  return undefined;
}
