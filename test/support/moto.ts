import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { cleanEnv } from './clients.ts';
import type { AwsKeys } from './upstreams/aws.ts';

const START_MS = 40_000;

/** moto: AWS as others read its documentation. No Debian package has it, so a machine may lack it. */
export const motoServer = (process.env['PATH'] ?? '')
  .split(delimiter)
  .map(folder => join(folder, 'moto_server'))
  .find(path => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });

export interface Moto {
  readonly port: number;
  /** One call that moto judges by nothing but its form; before `guard`. */
  call(service: string, action: string, parameters: Readonly<Record<string, string>>): Promise<string>;
  /** From now on each request needs a right signature and a policy that allows it. */
  guard(): Promise<void>;
  stop(): Promise<void>;
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** A moto of the test file's own. */
export async function startMoto(): Promise<Moto> {
  const port = await freePort();
  const env = { ...cleanEnv(), PATH: process.env['PATH'] ?? '' };
  const child = spawn(motoServer ?? '', ['-H', '127.0.0.1', '-p', String(port)], { env, stdio: 'ignore' });
  const exited = once(child, 'exit');
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await exited;
  };
  const base = `http://127.0.0.1:${port}`;
  const deadline = Date.now() + START_MS;
  while (
    !(await fetch(`${base}/moto-api/data.json`).then(
      ({ ok }) => ok,
      () => false,
    ))
  ) {
    if (child.exitCode !== null || Date.now() > deadline) {
      await stop();
      throw new Error('moto did not start');
    }
    await delay(50);
  }
  const call: Moto['call'] = async (service, action, parameters) => {
    const isJson = service === 'secretsmanager';
    const answer = await fetch(base, {
      method: 'POST',
      headers: {
        authorization: `AWS4-HMAC-SHA256 Credential=x/20260101/eu-west-1/${service}/aws4_request, SignedHeaders=host, Signature=x`,
        'content-type': isJson ? 'application/x-amz-json-1.1' : 'application/x-www-form-urlencoded',
        ...(isJson && { 'x-amz-target': `secretsmanager.${action}` }),
      },
      body: isJson
        ? JSON.stringify(parameters)
        : new URLSearchParams({
            Action: action,
            Version: service === 'iam' ? '2010-05-08' : '2011-06-15',
            ...parameters,
          }).toString(),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`moto: ${action}: ${answer.status} ${text}`);
    return text;
  };
  return {
    port,
    call,
    guard: async () => {
      await fetch(`${base}/moto-api/reset-auth`, { method: 'POST', body: '0' });
    },
    stop,
  };
}

/** A user that may do this, and its keys. */
export async function motoUser(moto: Moto, name: string, actions: readonly string[]): Promise<AwsKeys> {
  await moto.call('iam', 'CreateUser', { UserName: name });
  const statement = { Effect: 'Allow', Action: actions, Resource: '*' };
  await moto.call('iam', 'PutUserPolicy', {
    UserName: name,
    PolicyName: 'p',
    PolicyDocument: JSON.stringify({ Version: '2012-10-17', Statement: [statement] }),
  });
  const text = await moto.call('iam', 'CreateAccessKey', { UserName: name });
  const part = (tag: string) => new RegExp(`<${tag}>([^<]+)</${tag}>`).exec(text)?.[1] ?? '';
  return { AccessKeyId: part('AccessKeyId'), SecretAccessKey: part('SecretAccessKey') };
}
