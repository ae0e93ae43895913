import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { join } from 'node:path';
import * as tls from 'node:tls';
import type { Config, ListenAddress } from '../../config/types.ts';
import { Contexts } from '../../intercept/contexts.ts';
import type { CanonicalHost } from '../../types.ts';
import { TlsClient } from '../../upstream/tls.ts';
import { adminClient } from '../client.ts';
import { errorText } from '../log.ts';
import { type Check, failed, type Finding, note, ok } from './check.ts';
import { upstreamCertificates } from './files.ts';

const TIMEOUT_MS = 5000;
const NAME = 'doctor.stubgate.test' as CanonicalHost;

/** Clients that tell by themselves whether they trust a server, with a file of certificates. */
const CLIENTS: readonly (readonly [command: string, args: (bundle: string, port: number) => string[]])[] = [
  [
    'curl',
    (bundle, port) =>
      ['-sS', '--noproxy', '*', '--cacert', bundle, '--resolve', `${NAME}:${port}:127.0.0.1`].concat(
        `https://${NAME}:${port}/`,
      ),
  ],
  [
    'python3',
    (bundle, port) => [
      '-c',
      `import socket, ssl, sys
ssl.create_default_context(cafile=sys.argv[1]).wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[2])), 5), server_hostname=sys.argv[3])`,
      bundle,
      String(port),
      NAME,
    ],
  ],
];

/** Clients, wired as a sandbox is, and a server on loopback with a certificate of the gate's. */
export const trust: Check = {
  name: 'trust',
  run: async ({ compiled: { config }, authority }) => {
    const bundle = join(config.ca.dir, 'sandbox-bundle.pem');
    if (!authority || !existsSync(bundle))
      return [note('not tried: the gate has not run here yet', 'stubgate start')];
    const contexts = new Contexts(authority);
    const server = tls.createServer({ SNICallback: (_, done) => done(null, contexts.get(NAME)) }, socket => {
      socket.on('error', () => undefined);
      socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    });
    server.on('tlsClientError', () => undefined);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    try {
      const tried = [
        nodeTrusts(bundle, port),
        ...CLIENTS.map(([name, args]) => clientTrusts(name, args(bundle, port))),
      ];
      return (await Promise.all(tried)).flat();
    } finally {
      server.close();
    }
  },
};

const distrust = (client: string, why: string): Finding =>
  failed(
    `${client} does not trust the gate, though wired: ${why}`,
    'stubgate start, which writes the files anew; then wire the sandbox anew',
  );

function nodeTrusts(bundle: string, port: number): Promise<Finding[]> {
  return new Promise(resolve => {
    const socket = tls.connect({
      port,
      host: '127.0.0.1',
      servername: NAME,
      ca: readFileSync(bundle),
      timeout: TIMEOUT_MS,
    });
    const done = (finding: Finding) => {
      socket.destroy();
      resolve([finding]);
    };
    socket.on('secureConnect', () => done(ok('node trusts the gate')));
    socket.on('timeout', () => done(distrust('node', 'no answer')));
    socket.on('error', error => done(distrust('node', errorText(error))));
  });
}

/** Nothing for a client that is not there. */
function clientTrusts(command: string, args: string[]): Promise<Finding[]> {
  return new Promise(resolve => {
    execFile(command, args, { timeout: TIMEOUT_MS }, (error, _, stderr) => {
      if (!error) resolve([ok(`${command} trusts the gate`)]);
      else if (error.code === 'ENOENT') resolve([]);
      else resolve([distrust(command, stderr.trim().split('\n').at(-1) ?? 'it failed')]);
    });
  });
}

export const ports: Check = {
  name: 'ports',
  run: async ({ compiled: { config } }) => {
    const isOurs = await ownGateAnswers(config);
    const { proxy, admin } = config.listen;
    return [
      ...(await listenerOf('listen.proxy', proxy, isOurs)),
      ...(await listenerOf('listen.admin', admin, isOurs)),
    ];
  },
};

/** Whoever answers otherwise than a gate of this configuration does is none. */
async function ownGateAnswers(config: Config): Promise<boolean> {
  try {
    await adminClient(config).call('GET', '/v1/sessions');
    return true;
  } catch {
    return false;
  }
}

async function listenerOf(key: string, address: ListenAddress, isOurs: boolean): Promise<Finding[]> {
  const shown = address.path === undefined ? `${address.host}:${address.port}` : `unix:${address.path}`;
  const code = await listenFault(address);
  if (code === undefined) return [ok(`${key} ${shown} is free`)];
  if (code === 'EADDRINUSE' && isOurs)
    return [ok(`${key} ${shown}: a gate of this configuration runs there`)];
  const fix =
    code === 'EADDRINUSE'
      ? `end what listens there, or write another address into ${key}; to see it: ss -ltnp`
      : `write another address into ${key}`;
  return [failed(`${key} ${shown} cannot be used (${code})`, fix)];
}

/** A code such as EADDRINUSE. */
async function listenFault(address: ListenAddress): Promise<string | undefined> {
  if (address.path !== undefined) return (await answers({ path: address.path })) ? 'EADDRINUSE' : undefined;
  const server: Server = createServer();
  try {
    server.listen({ host: address.host, port: address.port });
    await once(server, 'listening');
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown error';
  } finally {
    server.close();
  }
}

function answers(to: { path: string } | { host: string; port: number }): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ ...to, timeout: TIMEOUT_MS });
    const done = (is: boolean) => {
      socket.destroy();
      resolve(is);
    };
    socket.on('connect', () => done(true));
    socket.on('timeout', () => done(false));
    socket.on('error', () => done(false));
  });
}

/** The parent proxy, and what upstreams are trusted by. */
export const upstream: Check = {
  name: 'upstream',
  run: async patient => {
    const { caFile, proxy } = patient.compiled.config.upstream;
    const trusted = upstreamCertificates(patient);
    if (trusted.every(({ status }) => status === 'ok'))
      void new TlsClient(caFile === undefined ? [] : [caFile], TIMEOUT_MS);
    if (!proxy) return trusted.length > 0 ? trusted : [ok('no parent proxy, the system’s trust')];
    const where = `${proxy.host}:${proxy.port}`;
    const reached = await answers({ host: proxy.host, port: proxy.port });
    const fix = `check upstream.proxy; to try it: curl -v --proxy ${proxy.scheme}://${where} https://example.com/`;
    return [
      ...trusted,
      reached
        ? ok(`the parent proxy ${where} takes connections`)
        : failed(`the parent proxy ${where} takes no connection`, fix),
    ];
  },
};
