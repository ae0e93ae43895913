import { randomBytes, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import * as tls from 'node:tls';
import { expect, onTestFinished, test, vi } from 'vitest';
import { type Authority, openAuthority } from '../../src/intercept/ca.ts';
import { Contexts } from '../../src/intercept/contexts.ts';
import { brought, broughtCa, folder, fromNow, host, intercepting, written } from './fixture.ts';

const DAY = 86_400_000;
const A = host('a.test');
const own = () => openAuthority({ dir: folder() });

interface Seen {
  readonly session: Buffer;
  readonly reused: boolean;
  readonly leaf: X509Certificate;
  readonly served: string[];
}

/** One connection of a strict client to a server with this context. */
async function visit(
  context: tls.SecureContext,
  authority: Authority,
  name = 'a.test',
  more: tls.ConnectionOptions = {},
): Promise<Seen> {
  const { port } = await intercepting(() => context);
  const client = tls.connect({ port, host: '127.0.0.1', servername: name, ca: authority.rootPem, ...more });
  onTestFinished(() => void client.destroy());
  let session = Buffer.alloc(0);
  client.on('session', next => {
    session = next;
  });
  await once(client, 'secureConnect');
  client.write('x');
  await once(client, 'data');
  const served: string[] = [];
  const leaf = client.getPeerX509Certificate() as X509Certificate;
  for (
    let certificate: X509Certificate | undefined = leaf;
    certificate && !served.includes(certificate.fingerprint256);
  ) {
    served.push(certificate.fingerprint256);
    certificate = certificate.issuerCertificate;
  }
  return { session, reused: client.isSessionReused(), leaf, served };
}

test('a host has one context, two hosts have two', () => {
  const contexts = new Contexts(own());
  expect(contexts.get(A)).toBe(contexts.get(A));
  expect(contexts.get(host('b.test'))).not.toBe(contexts.get(A));
});

test('no more than `max` are kept, the least recently used one goes', () => {
  const contexts = new Contexts(own(), { max: 2 });
  const [a, b] = [contexts.get(A), contexts.get(host('b.test'))];
  expect(contexts.get(A)).toBe(a);
  contexts.get(host('c.test'));
  expect(contexts.get(A)).toBe(a);
  expect(contexts.get(host('b.test'))).not.toBe(b);
});

test('a new leaf is minted half way to the end of the old one', async () => {
  const now = Math.ceil(Date.now() / (DAY / 2)) * (DAY / 2);
  const contexts = new Contexts(await brought({ notAfter: new Date(now + 0.5 * DAY) }));
  const first = contexts.get(A, now);
  expect(contexts.get(A, now + 0.2 * DAY)).toBe(first);
  const second = contexts.get(A, now + 0.3 * DAY);
  expect(second).not.toBe(first);
  expect(contexts.get(A, now + 0.35 * DAY)).toBe(second);
});

test('tickets are made with one key for twelve hours, which all processes change at once', async () => {
  const authority = own();
  const ticketSecret = randomBytes(32);
  const [one, two] = [new Contexts(authority, { ticketSecret }), new Contexts(authority, { ticketSecret })];
  const start = Date.now();
  const end = (Math.floor(start / (DAY / 2)) + 1) * (DAY / 2) - 1;
  const { session } = await visit(one.get(A, start), authority);
  expect(one.get(A, end)).toBe(one.get(A, start));
  expect(two.get(A, start)).toBe(two.get(A, end));
  // A leaf of the next period is not valid yet.
  const lenient = { session, rejectUnauthorized: false };
  const resumed = (at: number) => visit(two.get(A, at), authority, 'a.test', lenient);
  await expect(resumed(end)).resolves.toMatchObject({ reused: true });
  await expect(resumed(end + 1)).resolves.toMatchObject({ reused: false });
});

test('a new leaf is minted when the clock was set back before the old one', () => {
  const now = Date.now();
  const authority = { ...own(), notBefore: now - 30 * DAY };
  const contexts = new Contexts(authority);
  const first = contexts.get(A, now);
  expect(contexts.get(A, now - DAY)).not.toBe(first);
});

test('clients refuse the leaf once the CA has expired, for a cached host too', async () => {
  const authority = await brought({ notAfter: fromNow(2 / 86_400) });
  const contexts = new Contexts(authority);
  const { leaf } = await visit(contexts.get(A), authority);
  expect(leaf.validToDate.getTime()).toBe(authority.notAfter);
  await vi.waitFor(() => expect(Date.now()).toBeGreaterThan(authority.notAfter), { timeout: 5000 });
  await expect(visit(contexts.get(A), authority)).rejects.toThrow(/certificate has expired/);
});

test('a client gets the leaf of its host', async () => {
  const authority = own();
  const { leaf } = await visit(new Contexts(authority).get(A), authority);
  expect(leaf.subjectAltName).toBe('DNS:a.test');
});

test('issuer and intermediates are served, the root is not', async () => {
  const root = await broughtCa();
  const middle = await broughtCa({ pathLength: 1 }, root);
  const issuer = await broughtCa({}, middle);
  const authority = openAuthority(written(issuer.cert + middle.cert + root.cert, issuer.key));
  const { served } = await visit(new Contexts(authority).get(A), authority);
  const prints = [issuer, middle].map(ca => new X509Certificate(ca.cert).fingerprint256);
  expect(served.slice(1, 3)).toEqual(prints);
  // Without the root a client that trusts nothing else still has the whole chain below it.
  expect(authority.chainPem).not.toContain(new X509Certificate(root.cert).toString());
});

test.each(['TLSv1.2', 'TLSv1.3'] as const)(
  'a %s session is resumed at the same host, after the context was dropped too',
  async version => {
    const authority = own();
    const contexts = new Contexts(authority, { max: 1 });
    const limits = { minVersion: version, maxVersion: version };
    const { session, reused } = await visit(contexts.get(A), authority, 'a.test', limits);
    expect(reused).toBe(false);
    contexts.get(host('b.test'));
    await expect(visit(contexts.get(A), authority, 'a.test', { ...limits, session })).resolves.toMatchObject({
      reused: true,
    });
  },
);

// A server's TLS library looks at the name before it resumes; a client that keeps sending the first one gets past that.
for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test.each(['a.test', 'b.test'])(
    `a ${version} session is not resumed at another host, asked for as %s`,
    async name => {
      const authority = own();
      const contexts = new Contexts(authority);
      const limits = { minVersion: version, maxVersion: version, checkServerIdentity: () => undefined };
      const { session } = await visit(contexts.get(A), authority, 'a.test', limits);
      const elsewhere = await visit(contexts.get(host('b.test')), authority, name, { ...limits, session });
      expect(elsewhere.reused).toBe(false);
    },
  );
}

test('processes that share the ticket secret resume each other’s sessions, others do not', async () => {
  const authority = own();
  const ticketSecret = randomBytes(32);
  const [one, two, stranger] = [
    new Contexts(authority, { ticketSecret }),
    new Contexts(authority, { ticketSecret }),
    new Contexts(authority),
  ];
  const { session } = await visit(one.get(A), authority);
  await expect(visit(two.get(A), authority, 'a.test', { session })).resolves.toMatchObject({ reused: true });
  const { session: another } = await visit(one.get(A), authority);
  await expect(visit(stranger.get(A), authority, 'a.test', { session: another })).resolves.toMatchObject({
    reused: false,
  });
});
