import type { IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { Buffer } from 'node:buffer';
import { request } from '../http.ts';
import { VaultError } from '../types.ts';

const MAX_BYTES = 256 * 1024;
/** Statuses of 4xx after which asking again may help. */
const PASSING: ReadonlySet<number> = new Set([408, 425, 429]);

/** Opens a connection to an https origin that has proved to be it; rejects with an Error. `host` without brackets. */
export type Dial = (host: string, port: number) => Promise<Socket>;

/** What an issuer answered. */
export interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

/**
 * One request to a URL of the configuration, a POST unless it says another method. Rejects with VaultError unless the
 * answer is a JSON object, whatever its status; to a POST that asks for a token an empty one is none.
 */
export type Post = (
  url: URL,
  headers: Readonly<Record<string, string>>,
  body: string,
  kind?: 'revoke by POST' | 'revoke by DELETE',
) => Promise<Answer>;

type Method = 'GET' | 'POST' | 'DELETE';

/** The same, whatever the text of the answer is. */
export type Send = (
  url: URL,
  headers: Readonly<Record<string, string>>,
  body: string,
  method?: Method,
) => Promise<{ readonly status: number; readonly text: string }>;

export function poster(send: Send): Post {
  return async (url, headers, body, kind) => {
    const { status, text } = await send(url, headers, body, kind === 'revoke by DELETE' ? 'DELETE' : 'POST');
    // Nobody reads what is said of a revocation: it may be empty, or `OK`.
    return { status, body: kind ? {} : parse(text, url, status) };
  };
}

/** A `Send` of bounded time and size that follows no redirect. What was sent and received stands in no error. */
export function sender(dial: Dial, signal: AbortSignal): Send {
  return async (url, headers, body, method = 'POST') => {
    const socket = await open(dial, url, signal);
    try {
      const answer = await exchange(socket, url, method, headers, body, signal);
      const { statusCode: status = 0 } = answer;
      if (status < 200 || (status >= 300 && status < 400))
        throw fault(url, `it answered ${status}, and no redirect is followed; write the final URL`);
      return { status, text: await read(answer, url) };
    } catch (error) {
      throw error instanceof VaultError ? error : fault(url, codeOf(error));
    } finally {
      socket.destroy();
    }
  };
}

/** Why a request was refused, by its status. `code`: a word of the issuer's that is safe to log. */
export function refused(url: URL, status: number, code?: string): VaultError {
  const isFinal = status >= 400 && status < 500 && !PASSING.has(status);
  const said = code === undefined ? '' : ` (${code})`;
  return new VaultError(isFinal ? 'missing' : 'unavailable', `${url.href} answered ${status}${said}`);
}

/** An answer that is no token. `message` follows "the answer". */
export function malformed(url: URL, message: string): VaultError {
  return new VaultError('unavailable', `${url.href}: the answer ${message}`);
}

async function open(dial: Dial, url: URL, signal: AbortSignal): Promise<Socket> {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  try {
    if (url.protocol === 'http:') return connect({ host, port: Number(url.port || 80) });
    const socket = await dial(host, Number(url.port || 443));
    if (signal.aborted) socket.destroy();
    return socket;
  } catch (error) {
    throw fault(url, codeOf(error));
  }
}

function exchange(
  socket: Socket,
  url: URL,
  method: Method,
  headers: Readonly<Record<string, string>>,
  body: string,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        createConnection: () => socket,
        method,
        path: url.pathname + url.search,
        headers: {
          host: url.host,
          'user-agent': 'stubgate',
          accept: 'application/json',
          ...headers,
          ...(method !== 'GET' && { 'content-length': Buffer.byteLength(body) }),
          connection: 'close',
        },
        signal,
      },
      resolve,
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

async function read(answer: IncomingMessage, url: URL): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BYTES) throw malformed(url, `has more than ${MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parse(text: string, url: URL, status: number): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's own error quotes the text, which may hold a token.
    value = undefined;
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  if (status >= 400) return {};
  throw malformed(url, 'is not a JSON object');
}

function fault(url: URL, why: string): VaultError {
  return new VaultError('unavailable', `${url.href}: ${why}`);
}

/** What is safe to tell of an error of the network: its code, or the code of what caused it. */
function codeOf(error: unknown): string {
  const { code, name, cause } = (error ?? {}) as { code?: string; name?: string; cause?: unknown };
  const below = cause === undefined ? '' : ` (${codeOf(cause)})`;
  return `no answer: ${code ?? name ?? 'unknown error'}${below}`.replace(' (no answer: ', ' (');
}
