import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { motoServer } from './moto.ts';
import { startHttp, type HttpUpstream, type Received } from './upstream.ts';
import { awsFault, type AwsKeys } from './upstreams/aws-signed.ts';

const START_MS = 40_000;

/** AWS on loopback: each signature is checked by AWS's own code for it, then Moto answers. */
export interface Moto extends HttpUpstream {
  /** Of a user that may do everything. */
  readonly keys: AwsKeys;
  /** What was wrong with a request, in order of arrival. */
  readonly faults: readonly string[];
  /** From now on Moto checks signatures, too; it knows header and plain names only. */
  checkToo(): Promise<void>;
}

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

export async function startMoto(hosts: readonly string[]): Promise<Moto> {
  const port = await freePort();
  const child = spawn(motoServer as string, ['-H', '127.0.0.1', '-p', String(port)], {
    stdio: 'ignore',
    detached: true,
  });
  const stop = async (): Promise<void> => {
    const exited = once(child, 'exit');
    // Its shim may have children.
    process.kill(-(child.pid as number), 'SIGKILL');
    await exited;
  };
  try {
    await serving(port);
    const keys = await newKeys(port);
    const faults: string[] = [];
    // Those that its STS has handed out, too.
    const temporary = new Map<string, AwsKeys>();
    const front = await startHttp({ hosts }, async (received, response) => {
      const { method, url, rawHeaders, body } = received;
      const fault = await awsFault(
        { method, target: url, headers: rawHeaders, body },
        temporary.get(idOf(received)) ?? keys,
      );
      if (fault !== undefined) {
        faults.push(fault);
        response.writeHead(403, { 'content-type': 'text/xml' });
        response.end(`<Error><Code>SignatureDoesNotMatch</Code><Message>${fault}</Message></Error>`);
        return;
      }
      const answer = await pass(port, received);
      const handed = handedOut(answer.body.toString());
      if (handed) temporary.set(handed.AccessKeyId, handed);
      response.writeHead(answer.status, answer.headers);
      response.end(answer.body);
    });
    const close = async (): Promise<void> => {
      await front.close();
      await stop();
    };
    const checkToo = async (): Promise<void> => {
      await ask(port, '/moto-api/reset-auth', '0', { 'content-type': 'text/plain' });
    };
    return { ...front, keys, faults, checkToo, close };
  } catch (error) {
    await stop();
    throw error;
  }
}

const idOf = ({ headers }: Received): string =>
  /Credential=(\w+)/.exec(headers.authorization ?? '')?.[1] ?? '';

function handedOut(text: string): AwsKeys | undefined {
  if (!text.includes('</Credentials>')) return undefined;
  const part = (tag: string): string => new RegExp(`<${tag}>([^<]+)<`).exec(text)?.[1] ?? '';
  return {
    AccessKeyId: part('AccessKeyId'),
    SecretAccessKey: part('SecretAccessKey'),
    SessionToken: part('SessionToken'),
  };
}

async function newKeys(port: number): Promise<AwsKeys> {
  const statement = { Effect: 'Allow', Action: '*', Resource: '*' };
  const policy = JSON.stringify({ Version: '2012-10-17', Statement: [statement] });
  const iam = (action: string): Promise<string> =>
    ask(port, '/', `Action=${action}&UserName=gate&Version=2010-05-08`, {
      host: 'iam.amazonaws.com',
      'content-type': 'application/x-www-form-urlencoded',
      // By which Moto tells whom it is for.
      authorization: 'AWS4-HMAC-SHA256 Credential=setup/20260101/us-east-1/iam/aws4_request',
    });
  await iam('CreateUser');
  await iam(`PutUserPolicy&PolicyName=all&PolicyDocument=${encodeURIComponent(policy)}`);
  const made = await iam('CreateAccessKey');
  const of = (tag: string): string => new RegExp(`<${tag}>([^<]+)<`).exec(made)?.[1] ?? '';
  return { AccessKeyId: of('AccessKeyId'), SecretAccessKey: of('SecretAccessKey') };
}

async function ask(
  port: number,
  url: string,
  body: string,
  headers: http.IncomingHttpHeaders,
): Promise<string> {
  const rawHeaders = Object.entries(headers).flat() as string[];
  const answer = await pass(port, { method: 'POST', url, rawHeaders, body: Buffer.from(body) });
  if (answer.status !== 200) throw new Error(`moto answered ${answer.status}: ${answer.body.toString()}`);
  return answer.body.toString();
}

function pass(
  port: number,
  { method, url, rawHeaders, body }: Pick<Received, 'method' | 'url' | 'rawHeaders' | 'body'>,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const framing = /^(?:content-length|transfer-encoding|connection|expect)$/i;
    const headers: Record<string, string> = {};
    for (let i = 0; i < rawHeaders.length; i += 2) {
      const name = rawHeaders[i] as string;
      if (!framing.test(name)) headers[name] = rawHeaders[i + 1] as string;
    }
    headers['content-length'] = String(body.length);
    const request = http.request({ host: '127.0.0.1', port, method, path: url, headers }, answer => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('end', () => {
        const { 'transfer-encoding': _, connection: __, ...rest } = answer.headers;
        resolve({ status: answer.statusCode ?? 0, headers: rest, body: Buffer.concat(chunks) });
      });
    });
    request.on('error', reject);
    request.end(body);
  });
}

async function serving(port: number): Promise<void> {
  const deadline = Date.now() + START_MS;
  for (;;) {
    const socket = net.connect(port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await delay(100);
    } finally {
      socket.destroy();
    }
  }
}
