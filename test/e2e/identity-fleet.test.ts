import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { canary } from '../support/canary.ts';
import { type LocalGate, startTestGate } from '../support/gate.ts';
import { openTls } from '../support/raw-client.ts';
import { dump, hasRedis, startRedis, until } from '../support/redis.ts';
import { tempFolder } from '../support/temp.ts';
import { startEcho } from '../support/upstream.ts';
import { startOidc } from '../support/upstreams/oidc.ts';
import { API, bearer, closing, ISSUER, JWT, ownPage, PROFILES, RULES, told, verdict } from './identity.ts';

describe.skipIf(!hasRedis)('two gates that share a Redis', () => {
  test('open one session for one token, and end it together', async () => {
    const redis = await startRedis();
    onTestFinished(() => redis.stop());
    const issuer = closing(await startOidc(ISSUER));
    const api = closing(await startEcho({ hosts: [API] }));
    const keyFile = join(tempFolder('key'), 'key');
    writeFileSync(keyFile, canary('', 40), { mode: 0o600 });
    const start = async (): Promise<LocalGate> => {
      const gate = await startTestGate({
        credentials: { api: { secret: canary(), env: 'API_KEY' } },
        rules: RULES,
        profiles: PROFILES,
        upstreams: { [API]: api, [ISSUER]: issuer },
        config: { identity: [JWT], state: { url: redis.url, key_file: keyFile } },
      });
      onTestFinished(() => gate.stop());
      return gate;
    };
    const [one, two] = [await start(), await start()];
    const token = await issuer.sign({ sub: 'shared' });
    const ask = async (gate: LocalGate) => ownPage(gate.proxyPort, bearer(token));
    const [first, second] = (await Promise.all([ask(one), ask(two)])).map(told);
    expect(second).toMatchObject({ id: first?.id, sub: 'shared', env: first?.env });
    const held = await dump(redis);
    for (const part of [token, ...token.split('.'), 'shared', first?.env['API_KEY'] as string])
      expect(held).not.toContain(part);
    await two.revoke(first?.id as string);
    await until('the other gate refuses', async () => verdict(await ask(one)) === '407 session_revoked');
    const third = await start();
    expect(verdict(await ask(third))).toBe('407 session_revoked');
  });

  test('open none while Redis is away', async () => {
    const redis = await startRedis();
    onTestFinished(() => redis.stop());
    const issuer = closing(await startOidc(ISSUER));
    const gate = await startTestGate({
      rules: RULES,
      credentials: { api: { secret: canary(), env: 'API_KEY' } },
      profiles: PROFILES,
      upstreams: { [ISSUER]: issuer },
      config: { identity: [JWT], state: { url: redis.url, grace: '5s' } },
    });
    onTestFinished(() => gate.stop());
    await redis.kill();
    const token = await issuer.sign();
    await until('it is known that Redis is away', () => !gate.gate.sessions.healthy);
    expect(verdict(await ownPage(gate.proxyPort, bearer(token)))).toBe('503 state_unavailable');
  });

  test('cut the tunnels that are open when Redis has been away for the grace', async () => {
    const redis = await startRedis();
    onTestFinished(() => redis.stop());
    const api = closing(await startEcho({ hosts: [API] }));
    const gate = await startTestGate({
      rules: RULES,
      credentials: { api: { secret: canary(), env: 'API_KEY' } },
      profiles: PROFILES,
      upstreams: { [API]: api },
      config: { state: { url: redis.url, grace: '2s' } },
    });
    onTestFinished(() => gate.stop());
    const { proxy } = await gate.session();
    const tunnel = await openTls(proxy, gate.ca, API);
    await redis.kill();
    await tunnel.end();
    expect(gate.gate.sessions.suspended).toBe(true);
    expect(gate.gate.openTunnels).toBe(0);
  });
});
