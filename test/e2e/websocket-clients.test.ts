import { join } from 'node:path';
import { expect, test } from 'vitest';
import { canary } from '../support/canary.ts';
import { needs, runOk } from '../support/clients.ts';
import { type EchoSocket, startEchoSocket } from '../support/upstreams/websocket.ts';
import { PONG } from '../support/websocket.ts';
import { closing, expectClean, type Sandbox, sandbox } from './scene.ts';

const HOST = 'chat.corp.test';
const TYPED = '00ff10';

/** Each prints the subprotocol, three answers, what became of a ping, and the Close. */
const NODE = `
const socket = new WebSocket('wss://${HOST}/chat', {
  protocols: ['v1', 'chat'],
  headers: { authorization: 'Bearer ' + process.env.API_KEY },
});
socket.binaryType = 'arraybuffer';
const say = [Buffer.from('${TYPED}', 'hex'), 'ping', 'h\u00e9llo \u{1F600}', 'bye'];
socket.onopen = () => {
  console.log('opened', socket.protocol, JSON.stringify(socket.extensions));
  socket.send('authorization');
};
socket.onmessage = ({ data }) => {
  console.log('got', typeof data === 'string' ? data : Buffer.from(data).toString('hex'));
  socket.send(say.shift());
  if (say.length === 2) socket.send(say.shift());
};
socket.onclose = ({ code, reason, wasClean }) => console.log('closed', code, reason, wasClean);
socket.onerror = ({ message }) => console.log('failed', message);
`;

const PYTHON = `
import asyncio, base64, os, socket, ssl, urllib.parse, websockets

def tunnel(authority):
    proxy = urllib.parse.urlparse(os.environ['HTTPS_PROXY'])
    opened = socket.create_connection((proxy.hostname, proxy.port))
    credential = base64.b64encode(f'{proxy.username}:{proxy.password}'.encode()).decode()
    lines = [f'CONNECT {authority} HTTP/1.1', f'Host: {authority}', f'Proxy-Authorization: Basic {credential}', '', '']
    opened.sendall('\\r\\n'.join(lines).encode())
    head = b''
    while not head.endswith(b'\\r\\n\\r\\n'):
        head += opened.recv(1)
    return opened

async def main():
    headers = {'Authorization': 'Bearer ' + os.environ['API_KEY']}
    async with websockets.connect(
        'wss://${HOST}/chat', sock=tunnel('${HOST}:443'), ssl=ssl.create_default_context(),
        server_hostname='${HOST}', extra_headers=headers, subprotocols=['v1', 'chat'],
    ) as client:
        print('opened', client.subprotocol, '"' + ''.join(map(str, client.extensions)) + '"')
        await client.send('authorization')
        print('got', await client.recv())
        await client.send(bytes.fromhex('${TYPED}'))
        print('got', (await client.recv()).hex())
        await (await client.ping(b'are you there'))
        await client.send(['h\u00e9l', 'lo \u{1F600}'])
        print('got', await client.recv())
        await client.send('bye')
        try:
            await client.recv()
        except websockets.ConnectionClosed as closed:
            print('closed', closed.code, closed.reason, 'true')

asyncio.run(main())
`;

/** The npm package, which most programs in Node use. */
const WS = `
import http from 'node:http';
import tls from 'node:tls';
import WebSocket from 'ws';
const proxy = new URL(process.env.HTTPS_PROXY);
const credential = Buffer.from(proxy.username + ':' + proxy.password).toString('base64');
const asked = http.request({
  host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: '${HOST}:443',
  headers: { host: '${HOST}:443', 'proxy-authorization': 'Basic ' + credential },
}).end();
asked.on('connect', (answer, socket) => {
  const client = new WebSocket('wss://${HOST}/chat', ['v1', 'chat'], {
    createConnection: () => tls.connect({ socket, servername: '${HOST}' }),
    headers: { authorization: 'Bearer ' + process.env.API_KEY },
  });
  client.on('open', () => {
    console.log('opened', client.protocol, JSON.stringify(client.extensions));
    client.send('authorization');
  });
  const say = [
    () => client.send(Buffer.from('${TYPED}', 'hex')),
    () => client.ping('are you there', true, () => {
      client.send('h\u00e9l', { fin: false });
      client.send('lo \u{1F600}');
    }),
    () => client.send('bye'),
  ];
  client.on('message', (data, isBinary) => {
    console.log('got', data.toString(isBinary ? 'hex' : 'utf8'));
    say.shift()?.();
  });
  client.on('close', (code, reason) => console.log('closed', code, String(reason), true));
  client.on('error', error => console.log('failed', error.message));
});
`;

interface Scene extends Sandbox {
  readonly upstream: EchoSocket;
  readonly secret: string;
  readonly stub: string;
}

async function scene(): Promise<Scene> {
  const secret = canary('key-');
  const upstream = closing(await startEchoSocket(HOST, ['Sec-WebSocket-Protocol: chat']));
  const box = await sandbox({
    credentials: { api: { secret, env: 'API_KEY' } },
    rules: [{ name: 'chat', hosts: [HOST], inject: [{ credential: 'api', as: 'bearer' }] }],
    upstreams: { [HOST]: upstream },
  });
  return { ...box, upstream, secret, stub: box.session.stubs['API_KEY'] ?? '' };
}

/** The credential went up with the handshake and came back as the stub; everything else passed both ways. */
async function expectTalked({ upstream, secret, stub, gate }: Scene, shown: string): Promise<void> {
  expectClean(shown, secret);
  expect(shown.trim().split('\n')).toEqual([
    'opened chat ""',
    `got Bearer ${stub}`,
    `got ${TYPED}`,
    'got héllo 😀',
    `closed 4001 Bearer ${stub} true`,
  ]);
  expect(upstream.heads).toHaveLength(1);
  expect(upstream.heads[0]).toMatch(new RegExp(`^authorization: Bearer ${secret}\r$`, 'im'));
  expect(upstream.heads[0]).not.toMatch(/sec-websocket-extensions/i);
  expect(upstream.messages.every(({ frames }) => frames.every(({ key }) => key !== null))).toBe(true);
  expect((await gate.audit(1))[0]).toMatchObject({
    rule: 'chat',
    verdict: 'allow',
    reason: null,
    status: 101,
    injected: [{ credential: 'api', placement: 'header authorization' }],
    scrubbed: 2,
  });
  expect((await gate.audit(1))[0]?.stubs_seen).toBeGreaterThanOrEqual(1);
}

test('Node’s own client talks through the gate', async () => {
  const box = await scene();
  const ran = await runOk(process.execPath, ['--input-type=module', '-e', NODE], { env: box.env });
  await expectTalked(box, ran.output);
  const pong = box.upstream.messages.find(({ opcode }) => opcode === PONG);
  expect(pong?.data.toString()).toBe('are you there');
});

test('the package ws talks through the gate', async () => {
  const box = await scene();
  const cwd = join(import.meta.dirname, '../..');
  const ran = await runOk(process.execPath, ['--input-type=module', '-e', WS], { env: box.env, cwd });
  await expectTalked(box, ran.output);
});

needs('python3-websockets')('Python’s websockets talks through the gate', async () => {
  const box = await scene();
  const ran = await runOk('/usr/bin/python3', ['-c', PYTHON], { env: box.env });
  await expectTalked(box, ran.output);
});
