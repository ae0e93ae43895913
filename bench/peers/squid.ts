import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createCa } from '../pki.ts';
import { freePort, startGroup } from '../processes.ts';
import { absent, firstLine } from './command.ts';
import type { Peer, Site } from './peer.ts';

const CERTGEN = '/usr/lib/squid/security_file_certgen';

/** squid refuses to run as root: then it gets the user that its package made. */
function unprivileged(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const [, , uid, gid] = (/^proxy:.*$/m.exec(readFileSync('/etc/passwd', 'utf8'))?.[0] ?? '').split(':');
  if (uid === undefined || gid === undefined) throw new Error('squid: there is no user "proxy" to run as');
  return { uid: Number(uid), gid: Number(gid) };
}

/** Bumps at the first step: the certificate is made from the CONNECT target alone, the cheapest way that it has. */
function config({ dir, origin }: Site, port: number, ca: { cert: string; key: string }): string {
  return `
http_port 127.0.0.1:${port} ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=32MB tls-cert=${ca.cert} tls-key=${ca.key}
ssl_bump bump all
sslcrtd_program ${CERTGEN} -s ${dir}/certificates -M 32MB
sslcrtd_children 4 startup=4 idle=1
tls_outgoing_options cafile=${origin.ca.cert}
http_access allow all
request_header_access Authorization deny all
request_header_add Authorization "${origin.authorization}" all
request_header_access Via deny all
forwarded_for delete
hosts_file ${dir}/hosts
ipcache_size 8192
dns_nameservers 127.0.0.1
cache deny all
cache_mem 8 MB
access_log none
cache_log stdio:${dir}/cache.log
cache_store_log none
logfile_rotate 0
pid_filename ${dir}/squid.pid
coredump_dir ${dir}
visible_hostname localhost
max_filedescriptors 20000
client_idle_pconn_timeout 10 minutes
server_idle_pconn_timeout 10 minutes
pinger_enable off
netdb_filename none
icp_port 0
workers 1
shutdown_lifetime 0 seconds
`;
}

export const squid: Peer = {
  name: 'squid',
  mints: true,
  missing: () =>
    absent('squid', 'squid-openssl') ??
    (existsSync(CERTGEN)
      ? undefined
      : 'squid was built without ssl_bump (Debian: apt-get install squid-openssl)'),
  version: () => firstLine('squid', ['-v']).replace('Squid Cache: Version', 'squid'),

  async start(site) {
    const { dir, core, hosts } = site;
    const user = unprivileged();
    const ca = createCa(dir, 'squid-ca');
    const port = await freePort();
    const file = join(dir, 'squid.conf');
    writeFileSync(file, config(site, port, ca));
    writeFileSync(join(dir, 'hosts'), hosts.map(host => `127.0.0.1 ${host}\n`).join(''));
    execFileSync(CERTGEN, ['-c', '-s', join(dir, 'certificates'), '-M', '32MB'], { stdio: 'ignore' });
    giveAway(dir, user);
    const args = ['-N', '-f', file];
    const group = await startGroup('squid', args, {
      name: 'squid',
      core,
      log: join(dir, 'log'),
      port,
      cwd: dir,
      ...user,
    });
    return { group, port, connect: true, authorization: 'Bearer stub', caFile: ca.cert };
  },
};

function giveAway(dir: string, { uid, gid }: { uid?: number; gid?: number }): void {
  if (uid === undefined || gid === undefined) return;
  chmodSync(dir, 0o755);
  for (const name of ['', ...readdirSync(dir, { recursive: true, encoding: 'utf8' })])
    chownSync(join(dir, name), uid, gid);
}
