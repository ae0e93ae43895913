import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { canary } from '../support/canary.ts';
import { needs, runOk } from '../support/clients.ts';
import { openTls, readReply, type Reply } from '../support/raw-client.ts';
import { tempFolder } from '../support/temp.ts';
import { type HttpUpstream, startHttp } from '../support/upstream.ts';
import { closing, expectClean, type Sandbox, sandbox } from './scene.ts';

const [APP, SHOP] = ['app.corp.test', 'shop.corp.test'];

interface Web extends HttpUpstream {
  /** Values of the cookie, in order. */
  readonly handedOut: string[];
}

/** A site that logs in by form, and knows its users by a cookie, as frameworks do: percent-encoded, signed, rolling. */
async function startWeb(): Promise<Web> {
  const handedOut: string[] = [];
  const http = await startHttp({ hosts: [APP, SHOP] }, async (request, response) => {
    const set = (attributes: string): void => {
      handedOut.push(`s%3A${canary()}.${canary()}`);
      response.appendHeader('set-cookie', 'theme=dark; Path=/');
      response.appendHeader('set-cookie', `sid=${handedOut.at(-1)}${attributes}`);
    };
    const sent = /(?:^|; )sid=([^;]*)/.exec(request.headers.cookie ?? '')?.[1];
    if (request.url === '/login') {
      set('; Path=/; HttpOnly; Secure; SameSite=Lax');
      response.writeHead(302, { location: '/' }).end();
    } else if (request.url === '/brief') {
      set('; Path=/; Max-Age=60');
      response.end('for a minute');
    } else if (request.url === '/both') {
      set('; Path=/');
      response.appendHeader('set-cookie', `sid=${canary()}; Path=/other`);
      response.end('two');
    } else if (sent === undefined || !handedOut.includes(sent)) {
      response.writeHead(401).end('who?');
    } else if (request.url === '/kept') {
      response.setHeader('set-cookie', ['theme=dark', `sid=${sent}; Path=/; Max-Age=60`]);
      response.end('for another minute');
    } else if (request.url === '/stream') {
      response.write('first ');
      await once(response, 'close');
    } else if (request.url === '/big') {
      response.end('x'.repeat(1_000_000));
    } else {
      response.end(`${sent} ${decodeURIComponent(sent)}`);
    }
  });
  return { ...http, handedOut };
}

interface Scene extends Sandbox {
  readonly web: Web;
}

async function scene(): Promise<Scene> {
  const web = closing(await startWeb());
  const box = await sandbox({
    captured: { sid: 'generic' },
    rules: [
      {
        name: 'app',
        hosts: [APP],
        inject: [{ credential: 'sid', as: 'cookie', name: 'sid' }],
        capture: [{ credential: 'sid', at: 'set-cookie', name: 'sid' }],
      },
      { name: 'shop', hosts: [SHOP] },
    ],
    upstreams: { [APP]: web, [SHOP]: web },
  });
  return { ...box, web };
}

function expectKept({ web, gate }: Scene, ...shown: readonly string[]): void {
  expect(web.handedOut.length).toBeGreaterThan(0);
  for (const secret of web.handedOut.flatMap(one => [one, decodeURIComponent(one)]))
    for (const text of [...shown, gate.auditText(), JSON.stringify(gate.logs)]) expectClean(text, secret);
}

async function get(box: Scene, path: string, cookie = '', host = APP): Promise<Reply> {
  const peer = await openTls(box.session.proxy, box.gate.ca, host);
  const field = cookie === '' ? '' : `Cookie: ${cookie}\r\n`;
  await peer.send(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${field}\r\n`);
  const reply = await readReply(peer);
  peer.cut();
  return reply;
}

const fields = (reply: Reply, wanted: string): string[] =>
  reply.headers.filter(([name]) => name.toLowerCase() === wanted).map(([, value]) => value);
/** What the page shows of its cookie, as it is and decoded. */
const shownOf = (stub: string): string => `${stub} ${stub}`;
const sidOf = (reply: Reply): string => /^sid=([^;]*)/.exec(fields(reply, 'set-cookie')[1] ?? '')?.[1] ?? '';

test('a login sets a stub, attributes stay, and its later Cookie is the real one', async () => {
  const box = await scene();
  const login = await get(box, '/login');
  const stub = sidOf(login);
  expect([login.status, fields(login, 'location')]).toEqual([302, ['/']]);
  expect(fields(login, 'set-cookie')).toEqual([
    'theme=dark; Path=/',
    `sid=${stub}; Path=/; HttpOnly; Secure; SameSite=Lax`,
  ]);
  const page = await get(box, '/', `theme=dark; sid=${stub}; a=b`);
  const [real] = box.web.handedOut as [string];
  expect(box.web.requests.at(-1)?.headers.cookie).toBe(`theme=dark; sid=${real}; a=b`);
  expect(page.body.toString()).toBe(shownOf(stub));
  const [first, second] = await box.gate.audit(2);
  expect(first).toMatchObject({ captured: [{ credential: 'sid', at: 'set-cookie sid' }], injected: [] });
  expect(second?.captured).toBeUndefined();
  expect(second?.injected).toMatchObject([{ credential: 'sid', placement: 'cookie sid' }]);
  expectKept(box, JSON.stringify([login, page]), page.body.toString());
});

test('answers that set none pass, and stream, whatever their size', async () => {
  const box = await scene();
  const stub = sidOf(await get(box, '/login'));
  expect((await get(box, '/big', `sid=${stub}`)).body.length).toBe(1_000_000);
  const peer = await openTls(box.session.proxy, box.gate.ca, APP);
  onTestFinished(() => peer.cut());
  await peer.send(`GET /stream HTTP/1.1\r\nHost: ${APP}\r\nCookie: sid=${stub}\r\n\r\n`);
  await vi.waitFor(() => expect(peer.received.toString()).toContain('first'));
});

test('the stub is worth nothing elsewhere, nor the real value in a request; two values are withheld', async () => {
  const box = await scene();
  const stub = sidOf(await get(box, '/login'));
  const [real] = box.web.handedOut as [string];
  const told = async (path: string, cookie: string, host?: string): Promise<string> =>
    (JSON.parse((await get(box, path, cookie, host)).body.toString()) as { error: { code: string } }).error
      .code;
  expect(await told('/', `sid=${stub}`, SHOP)).toBe('stub_misplaced');
  expect(await told('/', `other=${stub}`)).toBe('stub_misplaced');
  expect(await told('/', `sid=${real}`)).toBe('secret_in_request');
  expect(await told('/', `sid=${decodeURIComponent(real)}`, SHOP)).toBe('secret_in_request');
  expect(await told('/', 'sid=somebody-elses')).toBe('foreign_credential');
  const withheld = await get(box, '/both');
  expect(withheld.status).toBe(502);
  expect(fields(withheld, 'set-cookie')).toEqual([]);
  expect(withheld.body.toString()).toContain('capture_failed');
});

test('it ends when the cookie does', async () => {
  vi.useFakeTimers({ toFake: ['Date'] });
  onTestFinished(() => void vi.useRealTimers());
  const box = await scene();
  const stub = sidOf(await get(box, '/brief'));
  expect((await get(box, '/', `sid=${stub}`)).status).toBe(200);
  vi.setSystemTime(Date.now() + 61_000);
  const late = await get(box, '/', `sid=${stub}`);
  expect(late.status).toBe(503);
  expect(late.body.toString()).toContain('The time of the credential that this stub stands for is over');
});

test('the same value again lives on under the same stub, as long as it says now', async () => {
  vi.useFakeTimers({ toFake: ['Date'] });
  onTestFinished(() => void vi.useRealTimers());
  const box = await scene();
  const stub = sidOf(await get(box, '/brief'));
  vi.setSystemTime(Date.now() + 50_000);
  expect(sidOf(await get(box, '/kept', `sid=${stub}`))).toBe(stub);
  vi.setSystemTime(Date.now() + 50_000);
  expect((await get(box, '/', `sid=${stub}`)).status).toBe(200);
  expectKept(box);
});

needs('curl')('curl keeps the stub in its cookie jar', async () => {
  const box = await scene();
  const jar = join(tempFolder('jar'), 'jar');
  const ran = await runOk('curl', ['-sSL', '-b', jar, '-c', jar, `https://${APP}/login`], { env: box.env });
  const kept = readFileSync(jar, 'utf8');
  const [, stub = ''] = /sid\t(\S+)/.exec(kept) ?? [];
  expect(kept).toMatch(new RegExp(`^#HttpOnly_${APP}\tFALSE\t/\tTRUE\t0\tsid\t`, 'm'));
  expect(ran.stdout).toBe(shownOf(stub));
  expectKept(box, ran.output, kept);
});

needs('python3-requests')('a session of Python’s requests logs in, and stays so', async () => {
  const box = await scene();
  const script = `
import requests
web = requests.Session()
page = web.get('https://${APP}/login')
assert page.status_code == 200, page.text
again = web.get('https://${APP}/again')
print(web.cookies['sid'], again.text)`;
  const ran = await runOk('/usr/bin/python3', ['-c', script], { env: box.env });
  const [stub = ''] = ran.stdout.split(' ');
  expect(ran.stdout).toBe(`${stub} ${shownOf(stub)}\n`);
  expectKept(box, ran.output);
});
