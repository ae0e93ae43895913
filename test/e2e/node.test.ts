import { expect, test } from 'vitest';
import { runOk } from '../support/clients.ts';
import { ECHO_HOST, echoScene, expectSwapped } from './scene.ts';

const FETCH = `
const headers = { authorization: 'Bearer ' + process.env.API_KEY };
const answer = await fetch('https://${ECHO_HOST}/v1/items', { method: 'POST', headers, body: 'hello' });
console.log(answer.status, Object.fromEntries(answer.headers), await answer.text());
const denied = await fetch('https://denied.corp.test/');
console.log('denied', denied.status, denied.headers.get('stubgate-reason'));
`;

const HTTPS = `
import https from 'node:https';
const headers = { authorization: 'Bearer ' + process.env.API_KEY };
const request = https.request('https://${ECHO_HOST}/v1/items', { method: 'POST', headers }, async answer => {
  console.log(answer.statusCode, answer.headers, (await answer.toArray()).join(''));
  https.get('https://denied.corp.test/', denied => {
    console.log('denied', denied.statusCode, denied.headers['stubgate-reason']);
    denied.resume();
  });
});
request.end('hello');
`;

test.each([
  ['fetch', FETCH],
  ['https.request', HTTPS],
])('%s sends the credential, reads the stub, and is told what is denied', async (_, program) => {
  const scene = await echoScene();
  const ran = await runOk(process.execPath, ['--input-type=module', '-e', program], { env: scene.env });
  await expectSwapped(scene, ran.output);
  expect(scene.upstream.requests[0]?.body.toString()).toBe('hello');
  expect(ran.stdout).toContain('denied 403 no_rule');
});
