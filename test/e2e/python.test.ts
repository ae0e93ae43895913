import { expect } from 'vitest';
import { needs, runOk } from '../support/clients.ts';
import { ECHO_HOST, echoScene, expectSwapped } from './scene.ts';

const URL = `https://${ECHO_HOST}/v1/items`;
const DENIED = 'https://denied.corp.test/';

/** Each prints the answer of an allowed request, with its headers, then status and body of a denied one. */
const PROGRAMS = {
  requests: `
import os, requests
headers = {'Authorization': 'Bearer ' + os.environ['API_KEY']}
with requests.Session() as session:
    answer = session.post('${URL}', headers=headers, json={'n': 1})
    print(answer.status_code, dict(answer.headers), answer.text)
    answer = session.get('${DENIED}')
    print('denied', answer.status_code, answer.text)
`,
  httpx: `
import os, httpx
headers = {'Authorization': 'Bearer ' + os.environ['API_KEY']}
with httpx.Client() as client:
    answer = client.post('${URL}', headers=headers, json={'n': 1})
    print(answer.status_code, dict(answer.headers), answer.text)
    answer = client.get('${DENIED}')
    print('denied', answer.status_code, answer.text)
`,
  urllib: `
import os, urllib.error, urllib.request
headers = {'Authorization': 'Bearer ' + os.environ['API_KEY'], 'Content-Type': 'application/json'}
asked = urllib.request.Request('${URL}', b'{"n": 1}', headers)
with urllib.request.urlopen(asked) as answer:
    print(answer.status, dict(answer.headers), answer.read().decode())
try:
    urllib.request.urlopen('${DENIED}')
except urllib.error.HTTPError as error:
    print('denied', error.code, error.read().decode())
`,
};

const CLIENTS = { requests: 'python3-requests', httpx: 'python3-httpx', urllib: 'python3' };

for (const [name, program] of Object.entries(PROGRAMS)) {
  needs(CLIENTS[name as keyof typeof CLIENTS])(
    `${name} sends the credential, reads the stub, and is told what is denied`,
    async () => {
      const scene = await echoScene();
      const ran = await runOk('/usr/bin/python3', ['-c', program], { env: scene.env });
      await expectSwapped(scene, ran.output);
      expect(JSON.parse(scene.upstream.requests[0]?.body.toString() ?? '')).toEqual({ n: 1 });
      expect(ran.stdout).toMatch(/^denied 403 \{"error":\{"code":"no_rule"/m);
      const lines = await scene.gate.audit(2);
      expect(lines[1]).toMatchObject({ verdict: 'deny', reason: 'no_rule', host: 'denied.corp.test' });
    },
  );
}
