import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { cleanEnv, needs, run, runOk } from '../support/clients.ts';
import { connectHead } from '../support/raw-client.ts';
import { ECHO_HOST, echoScene } from './scene.ts';

/** A port of the loopback behind which the gate's intercepting side answers: a scanner knows no CONNECT. */
async function interceptingSide(): Promise<{ port: number; caFile: string }> {
  const { session, gate } = await echoScene();
  const server = createServer(client => {
    const gate = connect(session.proxy.port, '127.0.0.1');
    gate.write(connectHead(session.proxy, `${ECHO_HOST}:443`));
    gate.once('data', () => client.pipe(gate).pipe(client));
    for (const [socket, other] of [
      [client, gate],
      [gate, client],
    ] as const) {
      socket.on('error', () => {});
      socket.on('close', () => other.destroy());
    }
  });
  onTestFinished(() => void server.close());
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return { port: (server.address() as AddressInfo).port, caFile: gate.caFile };
}

needs('sslscan')('sslscan finds no old protocol, no weak cipher and no known fault', async () => {
  const { port } = await interceptingSide();
  const args = ['--no-colour', '--xml=-', `--sni-name=${ECHO_HOST}`, `127.0.0.1:${port}`];
  const { stdout } = await runOk('sslscan', args, { env: cleanEnv({}) });
  const all = (pattern: RegExp): string[][] => [...stdout.matchAll(pattern)].map(match => match.slice(1));
  const on = all(/<protocol type="(\w+)" version="([\d.]+)" enabled="1"/g).map(([type, v]) => `${type} ${v}`);
  expect(on).toEqual(['tls 1.2', 'tls 1.3']);
  expect(stdout).toContain('<renegotiation supported="0"');
  expect(stdout).not.toContain('<compression supported="1"');
  const bleeding = all(/<heartbleed sslversion="[^"]+" vulnerable="(\d)"/g).flat();
  expect(new Set(bleeding)).toEqual(new Set(['0']));
  const ciphers = all(
    /<cipher status="\w+" sslversion="[^"]+" bits="(\d+)" cipher="([^"]+)"[^>]*strength="(\w+)"/g,
  );
  expect(ciphers.length).toBeGreaterThan(3);
  const weak = ciphers.filter(([bits, name = '', strength]) => {
    const isForward = /^(?:TLS_|ECDHE-)/.test(name);
    return Number(bits) < 128 || !isForward || !/GCM|CHACHA20|CCM/.test(name) || strength === 'weak';
  });
  expect(weak).toEqual([]);
});

interface Found {
  readonly id: string;
  readonly severity: string;
  readonly finding: string;
}

const scanned = async (): Promise<void> => {
  const { port, caFile } = await interceptingSide();
  const env = cleanEnv({});
  const json = join(env['HOME'] ?? '', 'found.json');
  // No name is looked up, and nobody asked but this port.
  const quiet = ['--quiet', '--color', '0', '--warnings', 'batch', '-n', 'none', '--ip', '127.0.0.1'];
  const checks = ['--protocols', '--server-preference', '--vulnerable'];
  const args = [...quiet, '--add-ca', caFile, '--jsonfile', json, ...checks, `${ECHO_HOST}:${port}`];
  await run('testssl', args, { env, timeout: 110_000 });
  const found = JSON.parse(readFileSync(json, 'utf8')) as Found[];
  const severe = found.filter(({ severity }) => !['OK', 'INFO', 'LOW'].includes(severity));
  // A warning about the OpenSSL that the scanner itself uses.
  expect(severe.filter(({ id }) => id !== 'engine_problem')).toEqual([]);
  expect(found.filter(({ severity }) => severity === 'OK').length).toBeGreaterThan(20);
};
needs('testssl')(
  'testssl finds no known fault, nor a preference that is left to the client',
  scanned,
  120_000,
);
