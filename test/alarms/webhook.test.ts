import { afterEach, expect, test } from 'vitest';
import { Webhook } from '../../src/alarms/webhook.ts';

const KEY = 'STUBGATE_TEST_WEBHOOK_KEY';
const URL_IN = 'STUBGATE_TEST_WEBHOOK_URL';
afterEach(() => {
  for (const name of [KEY, URL_IN]) Reflect.deleteProperty(process.env, name);
});

test.each([
  ['a key that is too short', 'fifteen-letters', 'https://hooks.test/', 'shorter than 16 characters'],
  ['a user in the URL', 'sixteen-letters!', 'https://canary-user@hooks.test/', 'not an https URL'],
  ['a password in the URL', 'sixteen-letters!', 'https://:canary-word@hooks.test/', 'not an https URL'],
  ['http in a secret URL', 'sixteen-letters!', 'http://127.0.0.1/', 'not an https URL'],
  ['what is no URL', 'sixteen-letters!', 'canary-text', 'not an https URL'],
])('nothing is sent with %s, and the reason does not tell it', async (_, key, url, why) => {
  process.env[KEY] = key;
  process.env[URL_IN] = url;
  let dialled = 0;
  const webhook = new Webhook({ url: { env: URL_IN }, secret: { env: KEY }, timeoutMs: 1000 }, () => {
    dialled++;
    return Promise.reject(new Error('dialled'));
  });
  const sent = await webhook.send('id', '{}');
  expect(sent).toMatchObject({ done: false, why: expect.stringContaining(why) as string });
  expect(JSON.stringify(sent)).not.toMatch(/canary|fifteen/);
  await expect(webhook.check()).rejects.toThrow(why);
  expect(dialled).toBe(0);
});
