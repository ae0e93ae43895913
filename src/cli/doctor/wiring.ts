import { existsSync, readFileSync } from 'node:fs';
import type { Config } from '../../config/types.ts';
import { deriveKey, StubKey } from '../../inject/stub.ts';
import type { Authority } from '../../intercept/ca.ts';
import { type Check, failed, type Finding, note, ok, type Patient } from './check.ts';

const WIRE = 'stubgate run -- CMD, or in this shell: eval "$(stubgate session create --format env)"';

/** Variables that name a file of certificates, and who reads them. */
const TRUST: Readonly<Record<string, string>> = {
  SSL_CERT_FILE: 'OpenSSL, Go, Ruby, httpx, uv',
  CURL_CA_BUNDLE: 'curl',
  REQUESTS_CA_BUNDLE: 'Python’s requests',
  NODE_EXTRA_CA_CERTS: 'Node',
  GIT_SSL_CAINFO: 'git',
  PIP_CERT: 'pip',
  AWS_CA_BUNDLE: 'the AWS tools',
  CARGO_HTTP_CAINFO: 'Cargo',
};

/** Switches that turn the check of certificates off, with the value that does; undefined: any. */
const OFF: readonly (readonly [name: string, value?: string])[] = [
  ['NODE_TLS_REJECT_UNAUTHORIZED', '0'],
  ['PYTHONHTTPSVERIFY', '0'],
  ['GIT_SSL_NO_VERIFY'],
  ['SSL_CERT_DIR'],
  ['SSLKEYLOGFILE'],
];

/** What clients that are started in this shell would do. */
export const wiring: Check = {
  name: 'wiring',
  run: patient => {
    const { env, compiled, authority } = patient;
    const proxy = env['HTTPS_PROXY'] || env['https_proxy'];
    if (!proxy) return [note('this shell is not wired: what is started in it goes around the gate', WIRE)];
    const findings = [
      ...proxyFindings(proxy, env, compiled.config),
      ...directFindings(env, compiled.config),
      ...OFF.flatMap(([name, value]) => offFinding(env, name, value)),
      ...(authority ? [...trustFindings(env, authority), ...stubFindings(patient, authority)] : []),
      ...javaFindings(env),
      ...(env['NODE_USE_ENV_PROXY'] === '1'
        ? []
        : [failed('NODE_USE_ENV_PROXY is not 1: Node goes around the gate', 'export NODE_USE_ENV_PROXY=1')]),
    ];
    return findings.some(({ status }) => status === 'failed')
      ? findings
      : [ok('this shell is wired'), ...findings];
  },
};

type Env = Patient['env'];

/** Nothing of the URL but where it leads: it holds the session's token. */
function proxyFindings(proxy: string, env: Env, { listen }: Config): Finding[] {
  const url = URL.parse(proxy);
  if (!url) return [failed('HTTPS_PROXY is no URL', WIRE)];
  const findings: Finding[] = [];
  const { port } = listen.proxy;
  if (port !== undefined && port !== 0 && url.port !== String(port))
    findings.push(failed(`HTTPS_PROXY leads to ${url.host}, and this gate listens on port ${port}`, WIRE));
  if (url.username === '')
    findings.push(failed('HTTPS_PROXY names no session: the gate will ask for one (407)', WIRE));
  const others = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'].filter(
    name => env[name] !== proxy,
  );
  const unequal = others.filter(name => env[name]);
  if (unequal.length > 0)
    findings.push(failed(`${unequal.join(', ')} leads elsewhere than HTTPS_PROXY`, WIRE));
  else if (others.length > 0)
    findings.push(note(`${others.join(', ')} is not set: some clients read only that`, WIRE));
  return findings;
}

/** Hosts that a rule names, and a client would reach directly. */
function directFindings(env: Env, { rules }: Config): Finding[] {
  const hosts = [...new Set(rules.flatMap(rule => rule.hosts.map(host => host.replace(/^\*\./, ''))))];
  return ['NO_PROXY', 'no_proxy'].flatMap(name => {
    const entries = (env[name] ?? '').split(/[,\s]+/).filter(entry => entry !== '');
    const covered = hosts.filter(host => entries.some(entry => covers(entry.toLowerCase(), host)));
    if (covered.length === 0) return [];
    return [
      failed(
        `${name} makes clients go around the gate to ${covered.slice(0, 5).join(', ')}`,
        `take it out of ${name}, or: unset ${name}`,
      ),
    ];
  });
}

function covers(entry: string, host: string): boolean {
  if (entry === '*') return true;
  const name = entry.replace(/:\d+$/, '').replace(/^\*?\./, '');
  return host === name || host.endsWith(`.${name}`);
}

function offFinding(env: Env, name: string, value?: string): Finding[] {
  const is = env[name];
  if (is === undefined || is === '' || (value !== undefined && is !== value)) return [];
  return [
    failed(
      `${name} is set: clients check no certificate, other ones, or show what they send`,
      `unset ${name}`,
    ),
  ];
}

function trustFindings(env: Env, { rootPem }: Authority): Finding[] {
  const root = rootPem.trim();
  const everybody = holds('/etc/ssl/certs/ca-certificates.crt', root) === true;
  return Object.entries(TRUST).flatMap(([name, who]) => {
    const file = env[name];
    if (!file) {
      if (everybody) return [];
      return [failed(`${name} is not set: ${who} will not trust the gate`, WIRE)];
    }
    const found = holds(file, root);
    if (found === true) return [];
    const why = found === undefined ? 'cannot be read' : 'does not hold the CA of this gate';
    return [failed(`${name}: ${file} ${why}: ${who} will not trust the gate`, WIRE)];
  });
}

/** Undefined if the file cannot be read. */
function holds(file: string, pem: string): boolean | undefined {
  try {
    return readFileSync(file, 'utf8').includes(pem);
  } catch {
    return undefined;
  }
}

/** Variables that should hold a stub, and hold something else. */
function stubFindings({ compiled, env }: Patient, { key }: Authority): Finding[] {
  // Gates that share their state may make stubs with a key of their own.
  if (compiled.config.state !== 'memory') return [];
  const stubs = new StubKey(deriveKey(key.export({ type: 'pkcs8', format: 'der' })));
  return [...compiled.credentials.values()].flatMap(({ name, stub }) => {
    const value = stub.env === undefined ? undefined : env[stub.env];
    if (!value || stubs.count(Buffer.from(value).toString('latin1')) > 0) return [];
    const fix = `unset ${stub.env}, and wire this shell anew`;
    return [failed(`${stub.env} holds something that is no stub of ${name}`, fix)];
  });
}

function javaFindings(env: Env): Finding[] {
  const options = env['JAVA_TOOL_OPTIONS'] ?? '';
  if (!options.includes('-Dhttps.proxyHost='))
    return [note('JAVA_TOOL_OPTIONS names no proxy: Java goes around the gate', WIRE)];
  const store = /-Djavax\.net\.ssl\.trustStore=([^\s"]+)/.exec(options)?.[1];
  if (store !== undefined && existsSync(store)) return [];
  return [failed('JAVA_TOOL_OPTIONS names no trust store that is there', WIRE)];
}
