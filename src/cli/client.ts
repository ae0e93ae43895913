import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../config/types.ts';
import { request } from '../http.ts';
import { readPrivate } from '../intercept/private-file.ts';

/** The gate's control plane, as its own command line calls it. */
export interface Client {
  /** The answer's JSON; throws an Error with the gate's own message if it refused, or does not answer. */
  call(method: string, path: string, body?: unknown): Promise<unknown>;
}

const TIMEOUT_MS = 5000;

/** Nobody listens: not an error for a caller that can do without. */
export class NoGate extends Error {
  override name = 'NoGate';
}

/** Throws NoGate if no gate has run with this configuration. */
export function adminClient({ listen: { admin }, ca }: Config): Client {
  const where =
    admin.path === undefined ? { host: reachable(admin.host), port: admin.port } : { socketPath: admin.path };
  const name = admin.path === undefined ? `${admin.host}:${admin.port}` : `unix:${admin.path}`;
  const file = join(ca.dir, 'admin-token');
  const noGate = () => new NoGate(`no gate answers at ${name}; start one with "stubgate start"`);
  if (!existsSync(file)) throw noGate();
  const token = readPrivate(file, 'the admin token').trim();
  return {
    call: async (method, path, body) => {
      const answer = await send({ ...where, method, path, token }, body).catch(
        (error: NodeJS.ErrnoException) => {
          if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') throw noGate();
          throw error;
        },
      );
      if (answer.status < 400) return answer.body;
      const { error } = answer.body as { error?: { message?: string; hint?: string } };
      throw new Error(
        `the gate at ${name} refused: ${error?.message ?? answer.status}; ${error?.hint ?? 'see its log'}`,
      );
    },
  };
}

const reachable = (host: string): string => (host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host);

interface Call {
  method: string;
  path: string;
  token: string;
  host?: string;
  port?: number;
  socketPath?: string;
}

function send({ token, ...options }: Call, body?: unknown): Promise<{ status: number; body: unknown }> {
  return new Promise((resolve, reject) => {
    const headers = {
      authorization: `Bearer ${token}`,
      ...(body !== undefined && { 'content-type': 'application/json' }),
    };
    const call = request({ ...options, headers, timeout: TIMEOUT_MS }, response => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (text += chunk));
      response.on('error', reject);
      response.on('end', () => {
        const parsed = parse(text);
        if (parsed !== undefined) resolve({ status: response.statusCode ?? 0, body: parsed });
        else reject(new Error(`what answers there is no stubgate (status ${response.statusCode})`));
      });
    });
    call.on('timeout', () =>
      call.destroy(new Error(`no answer from the gate within ${TIMEOUT_MS / 1000} s`)),
    );
    call.on('error', reject);
    call.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
