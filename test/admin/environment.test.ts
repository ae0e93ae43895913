import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { inheritableEnvironment, sandboxEnvironment, type Wiring } from '../../src/admin/environment.ts';

const PROXY = 'http://s1:tok@127.0.0.1:8080';
const wiring: Wiring = {
  proxy: PROXY,
  trust: { ca: '/c/ca.pem', bundle: '/c/all.pem', javaStore: '/c/all.jks', wgetrc: '/c/wgetrc' },
  stubs: { GITHUB_TOKEN: 'ghp_stub' },
  hosts: ['api.github.test', '*.example.test'],
  git: [{ host: 'github.test', variable: 'GITHUB_TOKEN' }],
};

describe('the sandbox’s environment', () => {
  const bundled =
    'SSL_CERT_FILE CURL_CA_BUNDLE REQUESTS_CA_BUNDLE HTTPLIB2_CA_CERTS PIP_CERT AWS_CA_BUNDLE GIT_SSL_CAINFO ' +
    'CARGO_HTTP_CAINFO CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE GRPC_DEFAULT_SSL_ROOTS_FILE_PATH BUNDLE_SSL_CA_CERT ' +
    'npm_config_cafile YARN_HTTPS_CA_FILE_PATH';
  const proxied =
    'HTTP_PROXY http_proxy HTTPS_PROXY https_proxy ALL_PROXY all_proxy GRPC_PROXY grpc_proxy npm_config_proxy ' +
    'npm_config_https_proxy YARN_HTTP_PROXY YARN_HTTPS_PROXY';
  const direct = 'NO_PROXY no_proxy npm_config_noproxy NO_GRPC_PROXY no_grpc_proxy';
  const table: [name: string, value: string][] = [
    ...bundled.split(' ').map((name): [string, string] => [name, '/c/all.pem']),
    ...proxied.split(' ').map((name): [string, string] => [name, PROXY]),
    ...direct.split(' ').map((name): [string, string] => [name, 'localhost,127.0.0.1,::1']),
    ['NODE_EXTRA_CA_CERTS', '/c/ca.pem'],
    ['DENO_CERT', '/c/ca.pem'],
    ['NODE_USE_ENV_PROXY', '1'],
    ['UV_NATIVE_TLS', 'true'],
    ['WGETRC', '/c/wgetrc'],
    ['AWS_EC2_METADATA_DISABLED', 'true'],
    ['CLOUDSDK_PROXY_TYPE', 'http'],
    ['CLOUDSDK_PROXY_ADDRESS', '127.0.0.1'],
    ['CLOUDSDK_PROXY_PORT', '8080'],
    ['CLOUDSDK_PROXY_USERNAME', 's1'],
    ['CLOUDSDK_PROXY_PASSWORD', 'tok'],
    ['GITHUB_TOKEN', 'ghp_stub'],
  ];

  it.each(table)('sets %s', (name, value) => {
    expect(sandboxEnvironment(wiring)[name]).toBe(value);
  });

  it('sets nothing else but git’s and Java’s variables', () => {
    const known = new Set(table.map(([name]) => name));
    const others = Object.keys(sandboxEnvironment(wiring)).filter(name => !known.has(name));
    expect(others.filter(name => !/^GIT_CONFIG_(COUNT|KEY_\d+|VALUE_\d+)$/.test(name))).toEqual([
      'JAVA_TOOL_OPTIONS',
    ]);
  });

  it('lets no host that a rule names go around the gate', () => {
    const env = sandboxEnvironment({ ...wiring, hosts: ['localhost', '::1'] });
    expect(env['NO_PROXY']).toBe('127.0.0.1');
    expect(env['no_proxy']).toBe('127.0.0.1');
    expect(env['npm_config_noproxy']).toBe('127.0.0.1');
    expect(env['JAVA_TOOL_OPTIONS']).toContain('-Dhttp.nonProxyHosts=127.0.0.1 ');
  });

  it('wires Java, whose options may hold spaces', () => {
    const env = sandboxEnvironment({ ...wiring, trust: { ...wiring.trust, javaStore: '/my certs/all.jks' } });
    expect(env['JAVA_TOOL_OPTIONS']).toBe(
      '-Dhttp.nonProxyHosts=localhost|127.0.0.1|[::1] -Djdk.http.auth.tunneling.disabledSchemes= ' +
        '"-Djavax.net.ssl.trustStore=/my certs/all.jks" -Djavax.net.ssl.trustStoreType=JKS ' +
        '-Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=8080 -Dhttp.proxyUser=s1 -Dhttp.proxyPassword=tok ' +
        '-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=8080 -Dhttps.proxyUser=s1 -Dhttps.proxyPassword=tok',
    );
  });

  it('writes an IPv6 address as each client wants it', () => {
    const env = sandboxEnvironment({ ...wiring, proxy: 'http://s1:tok@[::1]:8080' });
    expect(env['HTTPS_PROXY']).toBe('http://s1:tok@[::1]:8080');
    expect(env['JAVA_TOOL_OPTIONS']).toContain('-Dhttps.proxyHost=::1 ');
  });

  it.each([
    [
      'the stub as password',
      ['credential', 'fill'],
      'protocol=https\nhost=github.test\n\n',
      'password=ghp_stub\n',
    ],
    ['no other host’s', ['credential', 'fill'], 'protocol=https\nhost=evil.test\n\n', undefined],
    ['the proxy’s way to authenticate', ['config', 'http.proxyAuthMethod'], '', 'basic\n'],
  ])('gives git %s', (_, args, input, expected) => {
    const env = {
      ...sandboxEnvironment(wiring),
      PATH: process.env['PATH'],
      HOME: '/nonexistent',
      GIT_TERMINAL_PROMPT: '0',
    };
    const { stdout } = spawnSync('git', args, { env, input, encoding: 'utf8' });
    if (expected === undefined) expect(stdout).not.toContain('password=');
    else expect(stdout).toContain(expected);
  });

  it('sends git’s ssh addresses over https', () => {
    const env = { ...sandboxEnvironment(wiring), PATH: process.env['PATH'], HOME: '/nonexistent' };
    for (const url of ['git@github.test:acme/app.git', 'ssh://git@github.test/acme/app.git']) {
      const { stdout } = spawnSync('git', ['ls-remote', '--get-url', url], { env, encoding: 'utf8' });
      expect(stdout).toBe('https://github.test/acme/app.git\n');
    }
  });
});

describe('what a child inherits', () => {
  const removed =
    'HTTPS_PROXY https_proxy FTP_PROXY socks_proxy NO_PROXY npm_config_noproxy npm_config_https_proxy ' +
    'npm_config_strict_ssl CLOUDSDK_PROXY_ADDRESS SSL_CERT_DIR SSLKEYLOGFILE NODE_TLS_REJECT_UNAUTHORIZED ' +
    'GIT_SSL_NO_VERIFY GIT_CONFIG_COUNT GIT_CONFIG_KEY_9 GIT_CONFIG GIT_ASKPASS SSH_AUTH_SOCK AWS_PROFILE ' +
    'AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_WEB_IDENTITY_TOKEN_FILE GOOGLE_APPLICATION_CREDENTIALS ' +
    'ACTIONS_ID_TOKEN_REQUEST_URL ACTIONS_ID_TOKEN_REQUEST_TOKEN ACTIONS_RUNTIME_TOKEN CI_JOB_TOKEN STUBGATE_CONFIG';
  it.each(removed.split(' '))('is not %s', name => {
    expect(inheritableEnvironment({ [name]: 'x', PATH: '/bin' }, new Set())).toEqual({ PATH: '/bin' });
  });

  it.each(['PATH', 'HOME', 'TERM', 'PROXY', 'MY_PROXY_URL', 'npm_config_cache', 'AWS_REGION', 'CI', 'LANG'])(
    'is %s',
    name => {
      expect(inheritableEnvironment({ [name]: 'x' }, new Set())).toEqual({ [name]: 'x' });
    },
  );

  it('is no variable that a vault reads, nor another one that holds its value', () => {
    const inherited = {
      GH: 'ghp_real_secret',
      COPY: 'ghp_real_secret',
      URL: 'https://x:ghp_real_secret@host/',
      OTHER: 'ghp_real',
      EMPTY: '',
      GONE: undefined,
    };
    expect(inheritableEnvironment(inherited, new Set(['GH', 'EMPTY', 'MISSING']))).toEqual({
      OTHER: 'ghp_real',
    });
  });

  it('compares a short secret as a whole only', () => {
    const inherited = { PIN: 'ab', SAME: 'ab', PATH: '/cab' };
    expect(inheritableEnvironment(inherited, new Set(['PIN']))).toEqual({ PATH: '/cab' });
  });
});
