import { expect, onTestFinished, test, vi } from 'vitest';
import { canary } from '../support/canary.ts';
import { header, type Reply, request } from '../support/raw-client.ts';
import { startHttp } from '../support/upstream.ts';
import { closing, sandbox } from './scene.ts';

const HOST = 'api.corp.test';

test.each<[what: string, told: object, ttl: string | undefined, seconds: number | undefined]>([
  ['when the answer says', { expires_in: 60 }, undefined, 60],
  ['when the answer says, before its ttl', { expires_in: '60' }, '5m', 60],
  ['with its ttl, before the answer says', { expires_in: 600 }, '2m', 120],
  ['with its ttl, if the answer does not say', {}, '2m', 120],
  ['with the session, if nobody says', {}, undefined, undefined],
])('what was captured ends %s', async (_, told, ttl, seconds) => {
  vi.useFakeTimers({ toFake: ['Date'] });
  onTestFinished(() => void vi.useRealTimers());
  const token = canary('gho_');
  const upstream = closing(
    await startHttp({ hosts: [HOST] }, ({ url, headers }, response) => {
      response.setHeader('content-type', 'application/json');
      response.end(
        JSON.stringify(url === '/token' ? { access_token: token, ...told } : headers.authorization),
      );
    }),
  );
  const place = { at: 'json', pointer: '/access_token', expires_in: '/expires_in' };
  const { gate, session } = await sandbox({
    captured: { user: 'github-oauth' },
    rules: [
      {
        name: 'token',
        hosts: [HOST],
        paths: ['/token'],
        capture: [{ credential: 'user', ...place, ...(ttl !== undefined && { ttl }) }],
      },
      { name: 'api', hosts: [HOST], inject: [{ credential: 'user', as: 'bearer' }] },
    ],
    upstreams: { [HOST]: upstream },
  });
  const get = async (path: string, stub = ''): Promise<Reply> => {
    const more = stub === '' ? '' : `\r\nAuthorization: Bearer ${stub}`;
    return (await request(session.proxy, gate.ca, HOST, `GET ${path} HTTP/1.1\r\nHost: ${HOST}${more}`))
      .reply;
  };
  const answer = JSON.parse((await get('/token')).body.toString()) as Record<string, string>;
  const { access_token: stub = '', ...others } = answer;
  expect(others).toEqual(told);
  vi.setSystemTime(Date.now() + ((seconds ?? 1200) - 5) * 1000);
  expect((await get('/me', stub)).status).toBe(200);
  expect(upstream.requests.at(-1)?.headers.authorization).toBe(`Bearer ${token}`);
  if (seconds === undefined) return;
  vi.setSystemTime(Date.now() + 10_000);
  const late = await get('/me', stub);
  expect([late.status, header(late, 'stubgate-reason')]).toEqual([503, 'credential_unavailable']);
  expect(upstream.requests).toHaveLength(2);
});

test('an answer that says it in no way that can be read is withheld', async () => {
  const token = canary('gho_');
  const upstream = closing(
    await startHttp({ hosts: [HOST] }, (_, response) => {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ access_token: token, expires_in: 'soon' }));
    }),
  );
  const { gate, session } = await sandbox({
    captured: { user: 'github-oauth' },
    rules: [
      {
        name: 'token',
        hosts: [HOST],
        capture: [{ credential: 'user', at: 'json', pointer: '/access_token', expires_in: '/expires_in' }],
      },
    ],
    upstreams: { [HOST]: upstream },
  });
  const { reply, bytes } = await request(session.proxy, gate.ca, HOST, `GET / HTTP/1.1\r\nHost: ${HOST}`);
  expect([reply.status, header(reply, 'stubgate-reason')]).toEqual([502, 'capture_failed']);
  expect(bytes.toString()).not.toContain(token);
});
