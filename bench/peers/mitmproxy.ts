import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort, startGroup } from '../processes.ts';
import { absent, firstLine } from './command.ts';
import { OTHER_ROUNDS, type Peer } from './peer.ts';

const SCRIPT = fileURLToPath(new URL('mitmproxy.script.py', import.meta.url));

/** mitmdump with a script of one hook, bodies streamed, nothing shown. */
export const mitmproxy: Peer = {
  name: 'mitmproxy',
  mints: true,
  rounds: OTHER_ROUNDS,
  missing: () => absent('mitmdump', 'mitmproxy'),
  version: () => firstLine('mitmdump', ['--version']).replace(/: /, ' ').toLowerCase(),

  async start({ dir, core, origin }) {
    const port = await freePort();
    const settings = {
      confdir: dir,
      ssl_verify_upstream_trusted_ca: origin.ca.cert,
      stream_large_bodies: '64k',
      connection_strategy: 'lazy',
      upstream_cert: 'false',
    };
    const args = ['-q', '--listen-host', '127.0.0.1', '-p', `${port}`, '-s', SCRIPT];
    for (const [name, value] of Object.entries(settings)) args.push('--set', `${name}=${value}`);
    const env = {
      PATH: process.env['PATH'],
      HOME: dir,
      PYTHONDONTWRITEBYTECODE: '1',
      BENCH_AUTHORIZATION: origin.authorization,
    };
    const log = join(dir, 'log');
    const group = await startGroup('mitmdump', args, { name: 'mitmproxy', core, log, port, env });
    const caFile = join(dir, 'mitmproxy-ca-cert.pem');
    return { group, port, connect: true, authorization: 'Bearer stub', caFile };
  },
};
