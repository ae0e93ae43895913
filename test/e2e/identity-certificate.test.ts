import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import tls from 'node:tls';
import { describe, expect, onTestFinished, test } from 'vitest';
import { writeTrustFiles } from '../../src/admin/trust.ts';
import { sessionAnswer } from '../../src/admin/wiring.ts';
import { cleanEnv, needs, runOk, run } from '../support/clients.ts';
import { Peer } from '../support/peer.ts';
import { createCa, type IssueOptions, type ServerIdentity, type TestCa, testCa } from '../support/pki.ts';
import { connectHead, dial, header, readReply, wrapTls } from '../support/raw-client.ts';
import { tempFolder } from '../support/temp.ts';
import {
  API,
  bearer,
  identityScene,
  type IdentityScene,
  JWT,
  PROFILES,
  type Told,
  told,
  verdict,
} from './identity.ts';

const SPIFFE = 'spiffe://corp.test/ns/ci/sa/agent';
const DENIED = '407 unauthenticated';

interface TlsScene extends IdentityScene {
  readonly clients: TestCa;
  readonly certFile: string;
  /** Bytes to the proxy's own connection, over TLS with that certificate. */
  open(client?: ServerIdentity): Promise<Peer>;
  issue(options?: IssueOptions, hosts?: readonly string[], ca?: TestCa): Promise<ServerIdentity>;
}

interface Choice {
  entries?: (ca: string) => readonly object[];
  required?: boolean;
}

const ENTRY = (ca_file: string): object => ({
  type: 'client-certificate',
  ca_file,
  match: { spiffe: 'spiffe://corp.test/ns/*/sa/*' },
  profile: 'ci',
  labels: { namespace: '/path/1', account: '/path/3' },
});

async function tlsScene({ entries = ca => [ENTRY(ca)], required = false }: Choice = {}): Promise<TlsScene> {
  const clients = await createCa('Clients');
  const dir = tempFolder('door');
  const own = await (await testCa()).issue(['localhost', '127.0.0.1']);
  const [certFile, keyFile] = [join(dir, 'tls.crt'), join(dir, 'tls.key')];
  writeFileSync(certFile, own.cert);
  writeFileSync(keyFile, own.key);
  const listen = {
    proxy: '127.0.0.1:0',
    admin: '127.0.0.1:0',
    tls: {
      cert_file: certFile,
      key_file: keyFile,
      ...(required && { client_certificates: 'required' }),
    },
  };
  const scene = await identityScene([...entries(clients.file), JWT], {
    config: { listen },
    profiles: { ...PROFILES, ci: { rules: ['api'], ttl: '20d' } },
  });
  const issue: TlsScene['issue'] = (options = {}, hosts = [], ca = clients) =>
    ca.issue(hosts, { client: true, uris: [SPIFFE], subject: 'O=Corp,CN=agent', ...options });
  return { ...scene, clients, certFile, issue, open: client => enter(scene.gate.proxyPort, client) };
}

async function enter(port: number, client?: ServerIdentity): Promise<Peer> {
  const socket = tls.connect({
    port,
    host: '127.0.0.1',
    ca: (await testCa()).cert,
    ALPNProtocols: ['http/1.1'],
    ...client,
  });
  const peer = new Peer(socket);
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', resolve);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed')));
  });
  onTestFinished(() => peer.cut());
  return peer;
}

const PAGE = 'GET http://stubgate.invalid/session HTTP/1.1\r\nHost: stubgate.invalid\r\n';

async function who(peer: Peer, authorization?: string): Promise<Told | string> {
  const field = authorization === undefined ? '' : `Proxy-Authorization: ${authorization}\r\n`;
  await peer.send(`${PAGE}${field}\r\n`);
  const reply = await readReply(peer);
  return reply.status === 200 ? told(reply) : verdict(reply);
}

const inDays = (days: number): Date => new Date(Date.now() + days * 86_400_000);
const causes = ({ gate }: IdentityScene): string =>
  gate.logs
    .flatMap(({ fields }) => (fields['cause'] instanceof Error ? [fields['cause'].message] : []))
    .join('\n');

describe('a proxy that speaks TLS', () => {
  test('serves a session’s token as ever, and TLS inside TLS', async () => {
    const scene = await tlsScene();
    const { session, token } = await scene.gate.gate.createSession({ profile: 'ci' });
    const stub = scene.gate.gate.stubEnvironment(session)['API_KEY'] as string;
    const peer = await scene.open();
    await peer.send(connectHead({ port: 0, authorization: bearer(token) }, `${API}:443`));
    expect((await readReply(peer, 'CONNECT')).status).toBe(200);
    const inner = await wrapTls(peer, { ca: scene.gate.ca, servername: API });
    for (const size of [1, 300_000]) {
      await inner.send(
        `POST /me HTTP/1.1\r\nHost: ${API}\r\nAuthorization: Bearer ${stub}\r\nContent-Length: ${size}\r\n\r\n`,
      );
      await inner.send('x'.repeat(size));
      const reply = await readReply(inner);
      expect(JSON.parse(reply.body.toString())).toMatchObject({
        body: 'x'.repeat(size),
        headers: { authorization: `Bearer ${stub}` },
      });
      expect(scene.api.requests.at(-1)?.headers.authorization).toBe(`Bearer ${scene.secret}`);
    }
  });

  test('tells so in what a session is given, and speaks nothing else', async () => {
    const scene = await tlsScene();
    const { gate } = scene.gate;
    const { session, token } = await gate.createSession({ profile: 'ci' });
    const trust = writeTrustFiles(gate.caFile, gate.bundleFile);
    expect(sessionAnswer(gate, trust, session, token).proxy).toBe(
      `https://${session.session}:${token}@127.0.0.1:${scene.gate.proxyPort}`,
    );
    await expect(scene.session(bearer(token))).rejects.toThrow();
  });

  test('offers HTTP/1.1 only, and no session to resume', async () => {
    const scene = await tlsScene();
    const ca = (await testCa()).cert;
    const options = { port: scene.gate.proxyPort, host: '127.0.0.1', ca, ...(await scene.issue()) };
    const both = tls.connect({ ...options, ALPNProtocols: ['h2', 'http/1.1'] });
    const tickets: Buffer[] = [];
    both.on('session', ticket => tickets.push(ticket));
    const peer = new Peer(both);
    onTestFinished(() => peer.cut());
    expect(await who(peer)).toMatchObject({ sub: SPIFFE });
    expect(both.alpnProtocol).toBe('http/1.1');
    for (const session of tickets) {
      const again = tls.connect({ ...options, session });
      const second = new Peer(again);
      expect(await who(second)).toMatchObject({ sub: SPIFFE });
      expect(again.isSessionReused()).toBe(false);
      second.cut();
    }
  });

  test('finishes what is under way when it stops, and does not wait for who only knocks', async () => {
    const scene = await tlsScene();
    const { token } = await scene.gate.gate.createSession({ profile: 'ci' });
    const peer = await scene.open();
    await peer.send(connectHead({ port: 0, authorization: bearer(token) }, `${API}:443`));
    await readReply(peer, 'CONNECT');
    const inner = await wrapTls(peer, { ca: scene.gate.ca, servername: API });
    await inner.send(`POST /me HTTP/1.1\r\nHost: ${API}\r\nContent-Length: 4\r\n\r\nha`);
    const knocks = await dial(scene.gate.proxyPort);
    await knocks.send(Buffer.from('160301', 'hex'));
    const silent = await dial(scene.gate.proxyPort);
    // The half of the body is there, so the gate has accepted all three.
    await expect.poll(() => scene.gate.gate.openTunnels).toBe(1);
    const stopped = scene.gate.stop();
    await Promise.all([knocks.end(), silent.end()]);
    await inner.send('lf');
    expect((await readReply(inner)).status).toBe(200);
    await stopped;
    for (const one of [knocks, silent, peer]) one.cut();
  });

  test('shuts out who speaks no TLS, and goes on', async () => {
    const scene = await tlsScene();
    const { token } = await scene.gate.gate.createSession({ profile: 'ci' });
    for (const bytes of [PAGE, '\0'.repeat(100), Buffer.from('16030100050100000100', 'hex')]) {
      const peer = await dial(scene.gate.proxyPort);
      await peer.send(bytes);
      if (typeof bytes === 'string')
        expect((await peer.end()).bytes?.toString() ?? '').not.toContain('stubgate');
      peer.cut();
    }
    expect(await who(await scene.open(), bearer(token))).toMatchObject({ profile: 'ci' });
  });

  test('uses a new certificate once its files have changed, and keeps the old one while they do not fit', async () => {
    const scene = await tlsScene();
    const serial = async (): Promise<string | undefined> =>
      ((await scene.open()).socket as tls.TLSSocket).getPeerX509Certificate()?.serialNumber;
    const before = await serial();
    const next = await (await testCa()).issue(['localhost', '127.0.0.1']);
    const replace = (file: string, text: string): void => {
      writeFileSync(`${file}.new`, text);
      renameSync(`${file}.new`, file);
    };
    replace(scene.certFile, next.cert);
    await expect
      .poll(() => scene.gate.logs.map(({ message }) => message).join(), { timeout: 6000 })
      .toContain('do not fit');
    expect(await serial()).toBe(before);
    replace(scene.certFile.replace('.crt', '.key'), next.key);
    await expect.poll(serial, { timeout: 6000 }).not.toBe(before);
  });
});

describe('a client certificate', () => {
  test('opens a session for its SPIFFE ID, that ends with it', async () => {
    const scene = await tlsScene();
    const client = await scene.issue({ notAfter: inDays(1) });
    const mine = (await who(await scene.open(client))) as Told;
    expect(mine).toMatchObject({
      profile: 'ci',
      sub: SPIFFE,
      labels: { namespace: 'ci', account: 'agent' },
    });
    expect(Math.abs(Date.parse(mine.expires_at) - inDays(1).getTime())).toBeLessThan(5000);
    // The same instance, the same session; another instance of the same workload another one.
    expect(await who(await scene.open(client))).toMatchObject({ id: mine.id, env: mine.env });
    const other = (await who(await scene.open(await scene.issue()))) as Told;
    expect(other).toMatchObject({ sub: SPIFFE });
    expect(other.id).not.toBe(mine.id);
  });

  test('is what upstream and audit see', async () => {
    const scene = await tlsScene();
    const client = await scene.issue();
    const { env, id } = (await who(await scene.open(client))) as Told;
    const peer = await scene.open(client);
    const line = await scene.line(async () => {
      await peer.send(connectHead({ port: 0, authorization: '' }, `${API}:443`));
      expect((await readReply(peer, 'CONNECT')).status).toBe(200);
      const inner = await wrapTls(peer, { ca: scene.gate.ca, servername: API });
      await inner.send(`GET /me HTTP/1.1\r\nHost: ${API}\r\nAuthorization: Bearer ${env['API_KEY']}\r\n\r\n`);
      const reply = await readReply(inner);
      expect(reply.body.toString()).not.toContain(scene.secret);
      expect(header(reply, 'x-echo-authorization')).toBe(`Bearer ${env['API_KEY']}`);
    });
    expect(scene.api.requests[0]?.headers.authorization).toBe(`Bearer ${scene.secret}`);
    expect(line).toMatchObject({
      session: id,
      sub: SPIFFE,
      labels: { namespace: 'ci', account: 'agent' },
      verdict: 'allow',
    });
  });

  const UNFIT: readonly (readonly [
    what: string,
    options: IssueOptions,
    hosts: readonly string[],
    why: RegExp,
  ])[] = [
    ['no name but a CN', { uris: [], subject: `CN=${SPIFFE}` }, [], /claim spiffe/],
    ['two URIs', { uris: [SPIFFE, 'spiffe://corp.test/ns/other/sa/a'] }, [], /more than one URI/],
    ['the same URI twice', { uris: [SPIFFE, SPIFFE] }, [], /more than one URI/],
    ['a URI that is no SPIFFE ID', { uris: ['https://corp.test/ns/ci/sa/agent'] }, [], /not the SPIFFE ID/],
    ['a SPIFFE ID with a query', { uris: [`${SPIFFE}?a=b`] }, [], /not the SPIFFE ID/],
    ['a trust domain', { uris: ['spiffe://corp.test'] }, [], /not the SPIFFE ID/],
    ['another trust domain', { uris: ['spiffe://corp.test.evil/ns/ci/sa/agent'] }, [], /claim spiffe/],
    ['a path that is deeper', { uris: [`${SPIFFE}/x`] }, [], /claim spiffe/],
    ['a DNS name only', { uris: [] }, ['agent.corp.test'], /claim spiffe/],
    [
      'a DNS name that looks like a URI',
      { uris: [] },
      ['a, URI:spiffe://corp.test/ns/ci/sa/agent'],
      /claim spiffe|read/,
    ],
  ];
  test.each(UNFIT)('is refused with %s', async (_, options, hosts, why) => {
    const scene = await tlsScene();
    const client = await scene.issue(options, hosts);
    const line = await scene.line(async () => expect(await who(await scene.open(client))).toBe(DENIED));
    expect(line).toMatchObject({ session: null, reason: 'unauthenticated', status: 407 });
    expect(causes(scene)).toMatch(why);
  });

  test('counts for nothing if TLS does not trust it: another CA, expired, not yet valid, for servers, none', async () => {
    const scene = await tlsScene();
    const stranger = await createCa('Clients');
    const cases = [
      await scene.issue({}, [], stranger),
      await scene.issue({ notBefore: inDays(-3), notAfter: inDays(-1) }),
      await scene.issue({ notBefore: inDays(1), notAfter: inDays(2) }),
      await scene.issue({ client: false }),
      undefined,
    ];
    for (const client of cases) expect(await who(await scene.open(client))).toBe(DENIED);
  });

  test('is required if the configuration says so', async () => {
    const scene = await tlsScene({ required: true });
    const { session, token } = await scene.gate.gate.createSession({ profile: 'ci' });
    const stranger = await scene.issue({}, [], await createCa('Other'));
    for (const client of [undefined, stranger]) {
      const refused = async (): Promise<unknown> => who(await scene.open(client), bearer(token));
      await expect(refused()).rejects.toThrow();
    }
    const peer = await scene.open(await scene.issue());
    expect(await who(peer, bearer(token))).toMatchObject({ id: session.session });
  });

  test('is judged by the CA of each entry: one must not speak for the names of another', async () => {
    const other = await createCa('Other clients');
    const scene = await tlsScene({
      entries: ca => [
        ENTRY(ca),
        { ...ENTRY(other.file), match: { spiffe: 'spiffe://other.test/**' }, labels: {}, profile: 'closed' },
      ],
    });
    expect(await who(await scene.open(await scene.issue()))).toMatchObject({ profile: 'ci' });
    const theirs = await scene.issue({ uris: ['spiffe://other.test/x'] }, [], other);
    const young = await scene.issue(
      { uris: ['spiffe://other.test/x'], notBefore: new Date(Date.now() - 60_000) },
      [],
      other,
    );
    expect(await who(await scene.open(theirs))).toBe('407 session_expired');
    expect(await who(await scene.open(young))).toMatchObject({
      profile: 'closed',
      sub: 'spiffe://other.test/x',
    });
    for (const [uri, ca] of [
      [SPIFFE, other],
      ['spiffe://other.test/x', scene.clients],
    ] as const)
      expect(await who(await scene.open(await scene.issue({ uris: [uri] }, [], ca)))).toBe(DENIED);
  });

  test('may come with the chain up to a CA of the entry, and not from a CA that nobody made one', async () => {
    const scene = await tlsScene();
    const between = await scene.clients.below('Between');
    expect(await who(await scene.open(await scene.issue({}, [], between)))).toMatchObject({ sub: SPIFFE });
    const lower = await (await scene.clients.below('Lower')).below('Lowest');
    // Its client sends one of the two CAs between.
    expect(await who(await scene.open(await scene.issue({}, [], lower)))).toBe(DENIED);
    const other = await createCa('Other');
    const pretends = await other.below('Clients');
    expect(await who(await scene.open(await scene.issue({}, [], pretends)))).toBe(DENIED);
    // Both are trusted, each for its own names, whatever certificates are sent along.
    const two = await tlsScene({
      entries: ca => [
        ENTRY(ca),
        { ...ENTRY(other.file), match: { spiffe: 'spiffe://other.test/**' }, labels: {} },
      ],
    });
    const theirs = await two.issue({}, [], pretends);
    const withOurs = { key: theirs.key, cert: `${theirs.cert}\n${two.clients.cert}` };
    expect(await who(await two.open(withOurs))).toBe(DENIED);
    expect(await who(await two.open(await two.issue({}, [], await two.clients.below('B'))))).toMatchObject({
      sub: SPIFFE,
    });
  });

  test('is matched by DNS name or subject where there is no SPIFFE ID', async () => {
    const scene = await tlsScene({
      entries: ca_file => [
        { type: 'client-certificate', ca_file, match: { dns: '*.corp.test' }, sub: '/dns/0', profile: 'ci' },
        {
          type: 'client-certificate',
          ca_file,
          match: { subject: 'O=Corp,CN=ci-*' },
          sub: 'subject',
          profile: 'closed',
        },
      ],
    });
    const dns = await scene.issue({ uris: [] }, ['a.corp.test']);
    expect(await who(await scene.open(dns))).toMatchObject({ sub: 'a.corp.test', profile: 'ci' });
    const young = { uris: [], notBefore: new Date(Date.now() - 60_000) };
    const byName = await scene.issue({ ...young, subject: 'O=Corp,CN=ci-7' });
    expect(await who(await scene.open(byName))).toMatchObject({ sub: 'O=Corp,CN=ci-7', profile: 'closed' });
    for (const subject of [
      'O=Corp,CN=ci-7,OU=x',
      'O=Corp\\,CN\\=ci-7',
      'O=Evil,O=Corp,CN=ci-7',
      'CN=O\\=Corp\\,CN\\=ci-7',
    ])
      expect(await who(await scene.open(await scene.issue({ ...young, subject })))).toBe(DENIED);
  });

  test('is revoked for good, and the connection that it opened ends', async () => {
    const scene = await tlsScene();
    const client = await scene.issue();
    const peer = await scene.open(client);
    const { id } = (await who(peer)) as Told;
    await scene.gate.revoke(id);
    expect(await who(peer)).toBe('407 session_revoked');
    expect(await who(await scene.open(client))).toBe('407 session_revoked');
    const refused = (await scene.gate.audit(3)).slice(-2);
    expect(refused).toMatchObject(Array.from({ length: 2 }, () => ({ status: 407, session: id })));
  });

  test('is asked for anew by a connection that was there before a reload', async () => {
    const scene = await tlsScene();
    const peer = await scene.open(await scene.issue());
    const mine = (await who(peer)) as Told;
    scene.gate.rewrite(text => `${text}\n`);
    expect(await who(peer)).toMatchObject({ id: mine.id });
    scene.gate.rewrite(text => text.replaceAll('spiffe://corp.test/ns/*', 'spiffe://corp.test/ns/other'));
    expect(await who(peer)).toBe(DENIED);
  });

  test('never stands in for a credential that is wrong, nor the other way round', async () => {
    const scene = await tlsScene();
    const { session, token } = await scene.gate.gate.createSession({ profile: 'ci' });
    const peer = await scene.open(await scene.issue());
    const mine = (await who(peer)) as Told;
    expect(await who(peer, bearer(token))).toMatchObject({ id: session.session });
    expect(await who(peer)).toMatchObject({ id: mine.id });
    for (const wrong of [bearer('x'), 'Basic', '', bearer(`${token}x`)])
      expect(await who(peer, wrong)).toBe(DENIED);
    expect(
      await who(
        await scene.open(await scene.issue()),
        `${bearer(token)}\r\nProxy-Authorization: ${bearer(token)}`,
      ),
    ).toBe('400 malformed_request');
    await scene.gate.revoke(session.session);
    expect(await who(peer, bearer(token))).toBe('407 session_revoked');
    expect(await who(peer)).toMatchObject({ id: mine.id });
  });

  test('of a CA that is taken out of its file is taken no longer', async () => {
    const next = await createCa('Next');
    let file = '';
    const scene = await tlsScene({
      entries: ca => {
        file = ca;
        return [ENTRY(ca)];
      },
    });
    const client = await scene.issue();
    const fresh = await scene.issue({}, [], next);
    expect(await who(await scene.open(client))).toMatchObject({ sub: SPIFFE });
    writeFileSync(file, next.cert);
    await expect
      .poll(async () => who(await scene.open(fresh)), { timeout: 6000 })
      .toMatchObject({ sub: SPIFFE });
    expect(await who(await scene.open(client))).toBe(DENIED);
  });
});

describe('real clients over https to the proxy', () => {
  needs('curl')('curl, with a certificate', async () => {
    const scene = await tlsScene();
    const client = await scene.issue();
    const dir = tempFolder('client');
    const [cert, key] = [join(dir, 'cert.pem'), join(dir, 'key.pem')];
    writeFileSync(cert, client.cert);
    writeFileSync(key, client.key);
    const env = cleanEnv();
    const proxy = [
      '--proxy',
      `https://127.0.0.1:${scene.gate.proxyPort}`,
      '--proxy-cacert',
      (await testCa()).file,
    ];
    const mine = ['-sS', '--fail', ...proxy, '--proxy-cert', cert, '--proxy-key', key];
    const page = await runOk('curl', [...mine, 'http://stubgate.invalid/session'], { env });
    const { env: stubs, sub } = JSON.parse(page.stdout) as Told;
    expect(sub).toBe(SPIFFE);
    const args = [
      '--cacert',
      scene.gate.caFile,
      '-H',
      `Authorization: Bearer ${stubs['API_KEY']}`,
      `https://${API}/me`,
    ];
    const { stdout } = await runOk('curl', [...mine, ...args], { env });
    expect(JSON.parse(stdout)).toMatchObject({ headers: { authorization: `Bearer ${stubs['API_KEY']}` } });
    expect(scene.api.requests[0]?.headers.authorization).toBe(`Bearer ${scene.secret}`);
    const without = await run('curl', ['-sS', ...proxy, ...args], { env });
    expect(without.stderr).toContain('407');
    expect(scene.api.requests).toHaveLength(1);
  });

  needs('curl')('curl, with a JWT as a header of the proxy', async () => {
    const scene = await tlsScene();
    const token = await scene.issuer.sign();
    const proxy = [
      '--proxy',
      `https://127.0.0.1:${scene.gate.proxyPort}`,
      '--proxy-cacert',
      (await testCa()).file,
    ];
    const args = [
      '-sS',
      '--fail',
      ...proxy,
      '--proxy-header',
      `Proxy-Authorization: Bearer ${token}`,
      'http://stubgate.invalid/session',
    ];
    const { stdout } = await runOk('curl', args, { env: cleanEnv() });
    expect(JSON.parse(stdout)).toMatchObject({ sub: 'robot' });
  });

  needs('python3-requests')('requests, with a JWT in HTTPS_PROXY', async () => {
    const scene = await tlsScene();
    const proxy = `https://jwt:${await scene.issuer.sign()}@127.0.0.1:${scene.gate.proxyPort}`;
    const bundle = join(tempFolder('bundle'), 'bundle.pem');
    writeFileSync(bundle, `${scene.gate.ca}\n${(await testCa()).cert}\n`);
    const program = `
import requests
mine = requests.get('http://stubgate.invalid/session').json()
answer = requests.get('https://${API}/me', headers={'Authorization': 'Bearer ' + mine['env']['API_KEY']})
print(answer.status_code, mine['sub'])
`;
    const env = cleanEnv({ HTTPS_PROXY: proxy, HTTP_PROXY: proxy, REQUESTS_CA_BUNDLE: bundle });
    const { stdout } = await runOk('/usr/bin/python3', ['-c', program], { env });
    expect(stdout).toBe('200 robot\n');
    expect(scene.api.requests[0]?.headers.authorization).toBe(`Bearer ${scene.secret}`);
  });
});
