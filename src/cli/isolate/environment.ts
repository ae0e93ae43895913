/** Of a session's proxy. */
export interface GateAddress {
  /** Without brackets. */
  readonly host: string;
  readonly port: number;
}

export const addressOf = ({ hostname, port }: URL): GateAddress => ({
  host: hostname.replace(/^\[|\]$/g, ''),
  port: Number(port),
});

/** Where a sandbox finds the gate: at its own address if that is loopback, else at the same port of loopback. */
export function wayIn({ host, port }: GateAddress): GateAddress {
  return { host: /^127\.|^::1$|^localhost$/.test(host) ? host : '127.0.0.1', port };
}

/** The environment for a sandbox: what names the gate's address names the one inside, caches stand in its own /tmp. */
export function sandboxEnvironmentOf(
  env: Readonly<Record<string, string>>,
  proxy: URL,
): Record<string, string> {
  const outside = addressOf(proxy);
  const { host } = wayIn(outside);
  const move = (value: string): string =>
    outside.host === host ? value : value.replaceAll(proxy.hostname, host).replaceAll(outside.host, host);
  const moved = Object.entries(env).map(([name, value]) => [name, move(value)] as const);
  return { ...Object.fromEntries(moved.filter(([name]) => !WITHHELD.test(name))), ...OWN };
}

/** HOME is read-only there. */
const OWN = {
  TMPDIR: '/tmp',
  XDG_CACHE_HOME: '/tmp/.cache',
  npm_config_cache: '/tmp/.npm',
  GOMODCACHE: '/tmp/.go',
};

/** Sockets that a sandbox does not see. */
const WITHHELD =
  /^(npm_config_cache|XDG_RUNTIME_DIR|DBUS_SESSION_BUS_ADDRESS|DOCKER_HOST|TMUX|WAYLAND_DISPLAY)$/i;
