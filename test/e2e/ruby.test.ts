import { expect } from 'vitest';
import { needs, runOk } from '../support/clients.ts';
import { ECHO_HOST, echoScene, expectSwapped } from './scene.ts';

const PROGRAM = `
require 'net/http'
uri = URI('https://${ECHO_HOST}/v1/items')
answer = Net::HTTP.post(uri, 'hello', 'Authorization' => "Bearer #{ENV['API_KEY']}")
puts answer.code, answer.to_hash, answer.body
denied = Net::HTTP.get_response(URI('https://denied.corp.test/'))
puts "denied #{denied.code} #{denied.body}"
`;

needs('ruby')('Net::HTTP sends the credential, reads the stub, and is told what is denied', async () => {
  const scene = await echoScene();
  const ran = await runOk('ruby', ['-e', PROGRAM], { env: scene.env });
  await expectSwapped(scene, ran.output);
  expect(scene.upstream.requests[0]?.body.toString()).toBe('hello');
  expect(ran.stdout).toMatch(/^denied 403 \{"error":\{"code":"no_rule"/m);
});
