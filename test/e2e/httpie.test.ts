import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { needs, run, runOk } from '../support/clients.ts';
import { ECHO_HOST, type EchoScene, echoScene, expectSwapped } from './scene.ts';

const test = needs('http');
// Without this it asks its maker for news, in the background.
const SETTINGS = '{"disable_update_warnings": true}';
const OPTIONS = ['--ignore-stdin', '--print=hb', '--pretty=none'];

async function quietScene(): Promise<EchoScene> {
  const scene = await echoScene();
  const HTTPIE_CONFIG_DIR = scene.env['HOME'] ?? '';
  writeFileSync(join(HTTPIE_CONFIG_DIR, 'config.json'), SETTINGS);
  return { ...scene, env: { ...scene.env, HTTPIE_CONFIG_DIR } };
}

test('sends the credential and reads the stub', async () => {
  const scene = await quietScene();
  const { env, stub } = scene;
  const auth = ['-A', 'bearer', '-a', stub];
  const ran = await runOk('http', [...OPTIONS, ...auth, 'POST', `https://${ECHO_HOST}/v1`, 'a=b'], { env });
  await expectSwapped(scene, ran.output);
  expect(JSON.parse(scene.upstream.requests[0]?.body.toString() ?? '')).toEqual({ a: 'b' });
});

test('shows the refusal of a denied host', async () => {
  const { env } = await quietScene();
  const ran = await run('http', [...OPTIONS, '--check-status', 'GET', 'https://denied.corp.test/'], { env });
  expect(ran.code).toBe(4); // 4xx
  expect(ran.stdout).toContain('"code":"no_rule"');
});
