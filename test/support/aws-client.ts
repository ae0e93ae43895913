import { createHash } from 'node:crypto';
import { Sha256 } from '@aws-crypto/sha256-js';
import { SignatureV4 } from '@smithy/signature-v4';
import { type AwsKeys, queryOf } from './upstreams/aws-signed.ts';

/** A request that a client signs. */
export interface Unsigned {
  readonly host: string;
  readonly method?: string;
  /** Origin-form, encoded. */
  readonly target?: string;
  readonly region?: string;
  readonly service?: string;
  /** Without Host. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
  /** Value of X-Amz-Content-Sha256, or that there is none; default the hash of the body for s3, none for others. */
  readonly payload?: string | false;
  readonly date?: Date;
  /** Seconds: a presigned URL. */
  readonly expires?: number;
}

export interface Signed {
  readonly method: string;
  readonly target: string;
  /** name, value, …; Host first. */
  readonly headers: string[];
  readonly body: Buffer;
  /** Hex. */
  readonly signature: string;
}

export const REGION = 'eu-west-1';

/** Signed by AWS's own code for JavaScript. */
export async function signAs(keys: AwsKeys, wanted: Unsigned): Promise<Signed> {
  const { host, method = 'GET', target = '/', region = REGION, service = 's3', expires } = wanted;
  const body = Buffer.from(wanted.body ?? '');
  const isS3 = service === 's3';
  const hash = createHash('sha256').update(body).digest('hex');
  const { payload = isS3 && expires === undefined ? hash : false } = wanted;
  const signer = new SignatureV4({
    credentials: {
      accessKeyId: keys.AccessKeyId,
      secretAccessKey: keys.SecretAccessKey,
      ...(keys.SessionToken !== undefined && { sessionToken: keys.SessionToken }),
    },
    region,
    service,
    sha256: Sha256,
    uriEscapePath: !isS3,
    applyChecksum: false,
  });
  const headers: Record<string, string> = { host, ...wanted.headers };
  if (payload !== false) headers['x-amz-content-sha256'] = payload;
  const path = target.split('?')[0] ?? '';
  const request = {
    method,
    protocol: 'https:',
    hostname: host,
    path,
    query: queryOf(target),
    headers,
    body: body.length === 0 ? undefined : new Uint8Array(body).buffer,
  };
  const signingDate = wanted.date ?? new Date();
  if (expires === undefined) {
    const made = await signer.sign(request, { signingDate });
    const { host: _, ...rest } = made.headers;
    const signature = rest['authorization']?.split('Signature=')[1] ?? '';
    return { method, target, headers: ['Host', host, ...Object.entries(rest).flat()], body, signature };
  }
  if (isS3) headers['x-amz-content-sha256'] ??= 'UNSIGNED-PAYLOAD';
  const made = await signer.presign(request, {
    signingDate,
    expiresIn: expires,
    unhoistableHeaders: new Set(Object.keys(headers)),
    unsignableHeaders: new Set(payload === false ? ['x-amz-content-sha256'] : []),
  });
  if (payload === false) delete headers['x-amz-content-sha256'];
  const { host: _, ...rest } = headers;
  const pairs = Object.entries(made.query ?? {}).flatMap(([name, values]) =>
    [values ?? ''].flat().map(value => `${encode(name)}=${encode(value)}`),
  );
  const signature = made.query?.['X-Amz-Signature'] as string;
  const signed = `${path}?${pairs.join('&')}`;
  return { method, target: signed, headers: ['Host', host, ...Object.entries(rest).flat()], body, signature };
}

const encode = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, c => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

/** The request as it goes on the wire. */
export function wireOf({ method, target, headers, body }: Signed): Buffer {
  const lines = [`${method} ${target} HTTP/1.1`];
  for (let i = 0; i < headers.length; i += 2) lines.push(`${headers[i]}: ${headers[i + 1]}`);
  const named = headers.some(name => name.toLowerCase() === 'content-length');
  if ((body.length > 0 || method === 'PUT' || method === 'POST') && !named)
    lines.push(`Content-Length: ${body.length}`);
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), body]);
}
