/** What a sandbox is wired with. */
export interface Wiring {
  /** `http://<session>:<token>@host:port` */
  readonly proxy: string;
  readonly trust: TrustFiles;
  /** Variable → stub. */
  readonly stubs: Readonly<Record<string, string>>;
  /** Every host that a rule names. */
  readonly hosts: readonly string[];
  readonly git: readonly GitHost[];
}

/** Absolute paths, readable by the sandbox's user. */
export interface TrustFiles {
  /** The gate's CA alone, PEM. */
  readonly ca: string;
  /** System, corporate and the gate's CA, PEM. */
  readonly bundle: string;
  /** The same as the bundle, for Java (JKS). */
  readonly javaStore: string;
  /** Names the bundle to wget, which has no variable for it. */
  readonly wgetrc: string;
}

/** A host that takes a stub as the password of `Basic`: git asks a helper for it, and only after a 401. */
export interface GitHost {
  readonly host: string;
  /** Variable that holds the stub. */
  readonly variable: string;
}

const LOCAL = ['localhost', '127.0.0.1', '::1'];

/** Every variable by which a known client finds the proxy, the CA and its stub. */
export function sandboxEnvironment(wiring: Wiring): Record<string, string> {
  // A local server of the sandbox's own needs no gate; a host that a rule names always does.
  const direct = LOCAL.filter(host => !wiring.hosts.includes(host));
  return {
    ...proxyVariables(wiring.proxy, direct.join(',')),
    ...trustVariables(wiring.trust),
    ...gitVariables(wiring.git),
    JAVA_TOOL_OPTIONS: javaOptions(wiring, direct),
    AWS_EC2_METADATA_DISABLED: 'true',
    ...wiring.stubs,
  };
}

function proxyVariables(proxy: string, direct: string): Record<string, string> {
  const { hostname, port, username, password } = new URL(proxy);
  const variables: Record<string, string> = {
    NODE_USE_ENV_PROXY: '1',
    YARN_HTTP_PROXY: proxy,
    YARN_HTTPS_PROXY: proxy,
    npm_config_proxy: proxy,
    npm_config_https_proxy: proxy,
    npm_config_noproxy: direct,
    CLOUDSDK_PROXY_TYPE: 'http',
    CLOUDSDK_PROXY_ADDRESS: hostname,
    CLOUDSDK_PROXY_PORT: port,
    CLOUDSDK_PROXY_USERNAME: username,
    CLOUDSDK_PROXY_PASSWORD: password,
  };
  for (const name of ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'GRPC_PROXY']) {
    variables[name] = variables[name.toLowerCase()] = proxy;
  }
  for (const name of ['NO_PROXY', 'NO_GRPC_PROXY']) {
    variables[name] = variables[name.toLowerCase()] = direct;
  }
  return variables;
}

function trustVariables({ ca, bundle, wgetrc }: TrustFiles): Record<string, string> {
  return {
    // These add to what the client trusts by itself …
    NODE_EXTRA_CA_CERTS: ca,
    DENO_CERT: ca,
    // … these replace it.
    SSL_CERT_FILE: bundle,
    CURL_CA_BUNDLE: bundle,
    REQUESTS_CA_BUNDLE: bundle,
    HTTPLIB2_CA_CERTS: bundle,
    PIP_CERT: bundle,
    UV_NATIVE_TLS: 'true',
    AWS_CA_BUNDLE: bundle,
    GIT_SSL_CAINFO: bundle,
    CARGO_HTTP_CAINFO: bundle,
    CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE: bundle,
    GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: bundle,
    BUNDLE_SSL_CA_CERT: bundle,
    npm_config_cafile: bundle,
    YARN_HTTPS_CA_FILE_PATH: bundle,
    WGETRC: wgetrc,
  };
}

/** Settings for one run of git, as variables (git-config(1), GIT_CONFIG_COUNT). */
function gitVariables(hosts: readonly GitHost[]): Record<string, string> {
  const settings: [key: string, value: string][] = [['http.proxyAuthMethod', 'basic']];
  for (const { host, variable } of hosts) {
    const helper = `!f() { test "$1" = get && printf 'username=x-access-token\\npassword=%s\\n' "$${variable}"; }; f`;
    // The empty value drops the helpers of the machine, which may hold real passwords.
    settings.push([`credential.https://${host}.helper`, ''], [`credential.https://${host}.helper`, helper]);
    if (host.startsWith('*.')) continue;
    settings.push([`url.https://${host}/.insteadOf`, `git@${host}:`]);
    settings.push([`url.https://${host}/.insteadOf`, `ssh://git@${host}/`]);
  }
  const variables: Record<string, string> = { GIT_CONFIG_COUNT: `${settings.length}` };
  for (const [i, [key, value]] of settings.entries()) {
    variables[`GIT_CONFIG_KEY_${i}`] = key;
    variables[`GIT_CONFIG_VALUE_${i}`] = value;
  }
  return variables;
}

/** Options that every JVM of the sandbox reads. Java answers a proxy's 407 only when Basic is not disabled for tunnels. */
function javaOptions({ proxy, trust }: Wiring, direct: readonly string[]): string {
  const { hostname, port, username, password } = new URL(proxy);
  const options: [name: string, value: string][] = [
    ['http.nonProxyHosts', direct.map(host => (host === '::1' ? '[::1]' : host)).join('|')],
    ['jdk.http.auth.tunneling.disabledSchemes', ''],
    ['javax.net.ssl.trustStore', trust.javaStore],
    ['javax.net.ssl.trustStoreType', 'JKS'],
  ];
  for (const scheme of ['http', 'https']) {
    options.push([`${scheme}.proxyHost`, hostname.replace(/^\[|\]$/g, '')], [`${scheme}.proxyPort`, port]);
    // Not read by the JDK itself, but by Maven, Gradle and Apache's client.
    options.push([`${scheme}.proxyUser`, username], [`${scheme}.proxyPassword`, password]);
  }
  return options.map(([name, value]) => quoteJava(`-D${name}=${value}`)).join(' ');
}

const quoteJava = (option: string): string => (/\s/.test(option) ? `"${option}"` : option);

/** Names that a sandbox must not inherit: ways around the gate, and identities of the machine that it runs on. */
const WITHHELD = [
  /_proxy$/i,
  /^npm_config_(no-?proxy|https-proxy|strict_ssl|cafile|ca)$/i,
  /^CLOUDSDK_PROXY_/,
  /^SSL_CERT_(DIR|FILE)$/,
  /^SSLKEYLOGFILE$/,
  /^NODE_TLS_REJECT_UNAUTHORIZED$/,
  /^PYTHONHTTPSVERIFY$/,
  /^GIT_SSL_/,
  /^GIT_CONFIG(_|$)/,
  /^GIT_ASKPASS$/,
  /^SSH_(AUTH_SOCK|AGENT_PID|ASKPASS)$/,
  /^AWS_(DEFAULT_)?PROFILE$/,
  // Read before AWS_SESSION_TOKEN, which a session sets.
  /^AWS_SECURITY_TOKEN$/,
  /^AWS_(CONTAINER_|WEB_IDENTITY_|SHARED_CREDENTIALS_FILE$|CONFIG_FILE$)/,
  /^GOOGLE_APPLICATION_CREDENTIALS$/,
  /^AZURE_FEDERATED_TOKEN/,
  /^ACTIONS_(ID_TOKEN_REQUEST_|RUNTIME_TOKEN$)/,
  /^CI_JOB_(JWT|TOKEN)/,
  /^(SYSTEM_ACCESSTOKEN|BITBUCKET_STEP_OIDC_TOKEN|BUILDKITE_AGENT_ACCESS_TOKEN)$/,
  /^CIRCLE_OIDC_TOKEN/,
  /^STUBGATE_/,
];

/** Characters from which on a value is looked for inside others: a shorter one is found by chance. */
const SEARCHABLE = 8;

/**
 * What a child may inherit. `secretNames`: variables that vaults read; every other variable that holds the value of one
 * goes too.
 */
export function inheritableEnvironment(
  inherited: Readonly<Record<string, string | undefined>>,
  secretNames: ReadonlySet<string>,
): Record<string, string> {
  const secrets = [...secretNames].map(name => inherited[name] ?? '').filter(value => value !== '');
  const holdsSecret = (value: string) =>
    secrets.some(secret => (secret.length < SEARCHABLE ? value === secret : value.includes(secret)));
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(inherited)) {
    if (value === undefined || secretNames.has(name) || WITHHELD.some(pattern => pattern.test(name)))
      continue;
    if (!holdsSecret(value)) kept[name] = value;
  }
  return kept;
}
