import { expect } from 'vitest';
import { needs, run, runOk } from '../support/clients.ts';
import { ECHO_HOST, echoScene, expectSwapped } from './scene.ts';

const test = needs('wget');

test('swaps the stub for the credential, and back', async () => {
  const scene = await echoScene();
  const { env, stub, gate } = scene;
  const args = ['-nv', '-S', '-O', '-', '--header', `Authorization: Bearer ${stub}`];
  const ran = await runOk('wget', [...args, `https://${ECHO_HOST}/file`], { env });
  await expectSwapped(scene, ran.output);
  expect((await gate.audit(1))[0]).toMatchObject({ method: 'GET', path: '/file' });
});

test('is told which host is denied', async () => {
  const { env } = await echoScene();
  const ran = await run('wget', ['-nv', '--content-on-error', '-O', '-', 'https://denied.corp.test/'], {
    env,
  });
  expect(ran.code).toBe(8); // the server issued an error response
  expect(ran.stderr).toContain('403');
  expect(ran.stdout).toContain('"code":"no_rule"');
});
