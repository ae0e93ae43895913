import { AWS_CLIENT, awsIdentity } from '../../aws.ts';
import { VaultError } from '../../types.ts';

/** What STS serves everywhere, and Vault asks unless it is told otherwise. */
const GLOBAL_REGION = 'us-east-1';
const SERVER_ID = 'X-Vault-AWS-IAM-Server-ID';

export interface AwsLogin {
  readonly role: string;
  readonly region?: string | undefined;
  readonly server_id?: string | undefined;
}

interface SignedRequest {
  readonly method: string;
  readonly protocol: string;
  readonly hostname: string;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: string;
}

/**
 * The body of a login with an IAM identity: a signed sts:GetCallerIdentity, which Vault sends, not the gate
 * (developer.hashicorp.com/vault/api-docs/auth/aws#login). Signed anew each time; it holds no secret key.
 */
export async function signedIdentity({ role, region, server_id }: AwsLogin): Promise<Record<string, string>> {
  const { method, protocol, hostname, path, headers, body } = await signed(region, server_id);
  const encode = (text: string) => Buffer.from(text).toString('base64');
  return {
    role,
    iam_http_request_method: method,
    iam_request_url: encode(`${protocol}//${hostname}${path}`),
    iam_request_body: encode(body),
    iam_request_headers: encode(JSON.stringify(headers)),
  };
}

async function signed(region: string | undefined, serverId: string | undefined): Promise<SignedRequest> {
  const { GetCallerIdentityCommand, STSClient } = await import('@aws-sdk/client-sts');
  const client = new STSClient({
    ...AWS_CLIENT,
    region: region ?? GLOBAL_REGION,
    useGlobalEndpoint: region === undefined,
    credentials: await awsIdentity({ region: region ?? GLOBAL_REGION }),
  });
  let taken: unknown;
  const bare =
    <A, R>(next: (args: A) => R) =>
    (args: A): R => {
      const { request } = args as unknown as { readonly request: { headers: Record<string, string> } };
      request.headers = withoutExtras(request.headers);
      if (serverId !== undefined) request.headers[SERVER_ID] = serverId;
      return next(args);
    };
  client.middlewareStack.addRelativeTo(bare, {
    relation: 'before',
    toMiddleware: 'httpSigningMiddleware',
    name: 'bare',
  });
  client.middlewareStack.add(
    () => async args => {
      taken = args.request;
      return { output: { $metadata: {} }, response: {} };
    },
    // Behind the signature, before anything is sent.
    { step: 'finalizeRequest', priority: 'low', name: 'taken' },
  );
  await client.send(new GetCallerIdentityCommand({}));
  if (taken === undefined) throw new VaultError('unavailable', 'the login was not signed');
  return taken as SignedRequest;
}

/** What the SDK tells of itself; Vault takes few fields that begin with X-Amz-. */
function withoutExtras(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => !/^(amz-sdk-|x-amz-user-agent$|user-agent$)/i.test(name)),
  );
}
