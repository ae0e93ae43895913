import { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import { Refusal } from '../errors.ts';

/** Where the operator's parent proxy stands, and what it wants to be told. */
export interface ParentProxy {
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly port: number;
  /** `Proxy-Authorization` field value. */
  readonly authorization: string | undefined;
}

const DEFAULT_PORT = { http: 80, https: 443 } as const;
const MAX_HEAD = 16_384;
const END_OF_HEAD = '\r\n\r\n';

/** From `http://user:password@host:port`, or https. The error quotes nothing of it. */
export function parentProxy(url: URL): ParentProxy {
  const { protocol } = url;
  if (protocol !== 'http:' && protocol !== 'https:')
    throw new Error('upstream.proxy must be an http:// or https:// URL');
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '')
    throw new Error('upstream.proxy must end after its port: write http://user:password@host:port');
  const scheme = protocol === 'https:' ? 'https' : 'http';
  return {
    scheme,
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: Number(url.port || DEFAULT_PORT[scheme]),
    authorization: basic(decoded(url.username), decoded(url.password)),
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Error(
      'upstream.proxy: user or password holds a % that is not one of %00 to %FF: write it as %25',
    );
  }
}

function basic(user: string, password: string): string | undefined {
  if (user === '' && password === '') return undefined;
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
}

/** Asks the parent for a tunnel to host:port on `socket` (RFC 9110, section 9.3.6). */
export function openTunnel(
  socket: Socket,
  host: string,
  port: number,
  parent: ParentProxy,
  ms: number,
): Promise<void> {
  const authority = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  const credential = parent.authorization ? `Proxy-Authorization: ${parent.authorization}\r\n` : '';
  const answered = answer(socket, ms);
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${credential}\r\n`);
  return answered;
}

function answer(socket: Socket, ms: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => fail(new Refusal('upstream_timeout')), ms);
    let received = Buffer.alloc(0);
    const settle = (): void => {
      clearTimeout(timer);
      socket.off('data', read).off('error', fail).off('close', gone).pause();
    };
    const fail = (thrown: Error): void => {
      settle();
      socket.destroy();
      reject(thrown instanceof Refusal ? thrown : new Refusal('upstream_unreachable', { cause: thrown }));
    };
    const gone = (): void => fail(new Error('the parent proxy closed the connection'));
    const read = (chunk: Buffer): void => {
      received = Buffer.concat([received, chunk]);
      const end = received.indexOf(END_OF_HEAD);
      if (end < 0 && received.length <= MAX_HEAD) return;
      const refusal = refusalOf(received.toString('latin1', 0, Math.max(end, 0)));
      if (refusal) return fail(refusal);
      settle();
      const rest = received.subarray(end + END_OF_HEAD.length);
      if (rest.length > 0) socket.unshift(rest);
      resolve();
    };
    socket.on('data', read).on('error', fail).on('close', gone);
  });
}

/** Undefined if the parent opened the tunnel. */
function refusalOf(head: string): Refusal | undefined {
  const status = /^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1];
  if (status?.startsWith('2')) return undefined;
  const told = status ? `answered CONNECT with ${status}` : 'did not answer in HTTP/1.1';
  const hint = status === '407' ? ': set user and password in upstream.proxy' : '';
  const cause = new Error(`the parent proxy ${told}${hint}`);
  return new Refusal(status === '504' ? 'upstream_timeout' : 'upstream_unreachable', { cause });
}
