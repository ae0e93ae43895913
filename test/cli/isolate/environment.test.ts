import { expect, test } from 'vitest';
import { addressOf, sandboxEnvironmentOf, wayIn } from '../../../src/cli/isolate/environment.ts';

test.each([
  ['http://s:t@127.0.0.1:8080', '127.0.0.1'],
  ['http://s:t@127.0.0.2:8080', '127.0.0.2'],
  ['http://s:t@[::1]:8080', '::1'],
  // A namespace has loopback only.
  ['http://s:t@172.17.0.1:8080', '127.0.0.1'],
  ['http://s:t@[fd00::1]:8080', '127.0.0.1'],
])('a gate at %s is found at %s', (proxy, host) => {
  expect(wayIn(addressOf(new URL(proxy)))).toEqual({ host, port: 8080 });
});

test.each(['172.17.0.1', '[fd00::1]'])('what names a gate at %s names the way in', host => {
  const proxy = `http://s_a:sgt_b@${host}:8080`;
  const env = {
    HTTPS_PROXY: proxy,
    CLOUDSDK_PROXY_ADDRESS: host,
    JAVA_TOOL_OPTIONS: `-Dhttps.proxyHost=${host.replace(/[[\]]/g, '')} -Dhttps.proxyPort=8080`,
    KEPT: 'yes',
  };
  expect(sandboxEnvironmentOf(env, new URL(proxy))).toMatchObject({
    HTTPS_PROXY: 'http://s_a:sgt_b@127.0.0.1:8080',
    CLOUDSDK_PROXY_ADDRESS: '127.0.0.1',
    JAVA_TOOL_OPTIONS: '-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=8080',
    KEPT: 'yes',
  });
});

test('caches and temporary files have their place where it may write, and sockets that it does not see no name', () => {
  const env = {
    TMPDIR: '/x',
    NPM_CONFIG_CACHE: '/x',
    DBUS_SESSION_BUS_ADDRESS: 'unix:path=/run/x',
    TMUX: 'x',
  };
  expect(sandboxEnvironmentOf(env, new URL('http://s:t@127.0.0.1:1'))).toEqual({
    TMPDIR: '/tmp',
    XDG_CACHE_HOME: '/tmp/.cache',
    npm_config_cache: '/tmp/.npm',
    GOMODCACHE: '/tmp/.go',
  });
});
