import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import { canary, leaks } from './canary.ts';
import { cleanEnv, needs, run, runOk } from './clients.ts';
import { createCa, testCa } from './pki.ts';
import { dial, readReply, wrapTls } from './raw-client.ts';
import { startEcho, startRaw, type Upstream } from './upstream.ts';
import { startBulk } from './upstreams/bulk.ts';
import { startGit } from './upstreams/git.ts';
import { startGithub } from './upstreams/github.ts';
import { startNpmRegistry } from './upstreams/npm.ts';
import { startPypi } from './upstreams/pypi.ts';
import { startSse } from './upstreams/sse.ts';
import { tar } from './upstreams/tar.ts';
import { zip } from './upstreams/zip.ts';

const started: Upstream[] = [];
afterEach(async () => {
  await Promise.all(started.splice(0).map(upstream => upstream.close()));
});

function keep<T extends Upstream>(upstream: T): T {
  started.push(upstream);
  return upstream;
}

interface Answer {
  status: number;
  body: Buffer;
}

/** A request straight to a stand-in, by Node's own client. */
async function ask(upstream: Upstream, host: string, path: string, authorization?: string): Promise<Answer> {
  const { cert } = await testCa();
  const headers = { host, connection: 'close', ...(authorization === undefined ? {} : { authorization }) };
  return new Promise((resolve, reject) => {
    const request = https.get(
      { host: '127.0.0.1', port: upstream.port, servername: host, ca: cert, path, headers },
      response => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks) }));
      },
    );
    request.on('error', reject);
  });
}

const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`;

describe('canary', () => {
  const secret = canary('ghp_');
  const hidden: [string, string | Buffer][] = [
    ['raw', `x${secret}y`],
    ['hex', Buffer.from(secret).toString('hex')],
    ['HEX', Buffer.from(secret).toString('hex').toUpperCase()],
    ['base64+0', basic(`${secret}:x`)],
    ['base64+1', basic(`a${secret}`)],
    ['base64+2', basic(`ab${secret}z`)],
    ['utf16le', Buffer.from(secret, 'utf16le')],
    ['json', secret.replace(/[^]/g, c => `\\u00${c.charCodeAt(0).toString(16)}`)],
  ];
  test.each(hidden)('finds it spelt as %s', (name, text) => {
    expect(leaks(text, secret)).toContain(name);
  });

  test('finds nothing in another text, and never makes the same one twice', () => {
    expect(leaks(canary('ghp_'), secret)).toEqual([]);
    expect(canary()).not.toBe(canary());
  });
});

describe('raw upstream and client', () => {
  test('keeps every byte, tells heads apart and reads a chunked reply with trailers', async () => {
    const upstream = keep(
      await startRaw({ hosts: ['raw.test'] }, async peer => {
        await peer.head();
        await peer.send(
          'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n',
        );
        await peer.sendSplit('3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nx-end: 1\r\n\r\n', [1, 4, 9]);
      }),
    );
    const { cert } = await testCa();
    const peer = await wrapTls(await dial(upstream.port), { ca: cert, servername: 'raw.test' });
    await peer.sendSplit('GET / HTTP/1.1\r\nHost: raw.test\r\n\r\n', [3, 20]);
    const reply = await readReply(peer);
    expect(reply).toMatchObject({ status: 200, reason: 'Fine', trailers: [['x-end', '1']] });
    expect(reply.body.toString()).toBe('abcde');
    expect(upstream.connections[0]?.received.toString()).toBe('GET / HTTP/1.1\r\nHost: raw.test\r\n\r\n');
    peer.cut();
  });

  test('tells an orderly end from a cut, and shows what came instead of what was awaited', async () => {
    const upstream = keep(await startRaw({}));
    const first = await dial(upstream.port);
    const served = await upstream.next();
    await served.send('almost');
    served.finish();
    await expect(first.until('done')).rejects.toThrow('received instead: "almost"');
    expect((await first.end()).how).toBe('end');
    const second = await dial(upstream.port);
    (await upstream.next()).socket.resetAndDestroy();
    expect((await second.end()).how).toBe('cut');
  });

  test('an identity of another CA is not trusted', async () => {
    const other = await (await createCa('Another CA')).issue(['raw.test']);
    const upstream = keep(await startRaw({ tls: other }));
    const { cert } = await testCa();
    const dialled = await dial(upstream.port);
    await expect(wrapTls(dialled, { ca: cert, servername: 'raw.test' })).rejects.toThrow(/certificate/);
  });
});

describe('stand-ins', () => {
  test('echo reflects what it received and records it', async () => {
    const upstream = keep(await startEcho({ hosts: ['echo.test'] }));
    const { body } = await ask(upstream, 'echo.test', '/a?b=c', 'Bearer t');
    expect(JSON.parse(body.toString())).toMatchObject({
      url: '/a?b=c',
      headers: { authorization: 'Bearer t' },
    });
    expect(upstream.requests[0]?.headers.authorization).toBe('Bearer t');
  });

  test('the npm registry asks for its token', async () => {
    const upstream = keep(
      await startNpmRegistry({ host: 'npm.test', token: 'npm_secret', package: '@acme/hello' }),
    );
    expect((await ask(upstream, 'npm.test', '/@acme%2fhello', 'Bearer other')).status).toBe(401);
    const { body } = await ask(upstream, 'npm.test', '/@acme%2fhello', 'Bearer npm_secret');
    expect(JSON.parse(body.toString())).toMatchObject({ 'dist-tags': { latest: '1.0.0' } });
    const tarball = await ask(upstream, 'npm.test', '/@acme/hello/-/hello-1.0.0.tgz', 'Bearer npm_secret');
    expect(tarball.body.subarray(0, 2).toString('hex')).toBe('1f8b');
  });

  test('the package index asks for its password', async () => {
    const upstream = keep(await startPypi({ host: 'pypi.test', credential: 'u:p', distribution: 'hello' }));
    expect((await ask(upstream, 'pypi.test', '/simple/hello/')).status).toBe(401);
    expect((await ask(upstream, 'pypi.test', '/simple/hello/', basic('u:p'))).body.toString()).toContain(
      '.whl#',
    );
  });

  test('the GitHub API asks for its token', async () => {
    const upstream = keep(await startGithub({ token: 'ghp_x' }));
    expect((await ask(upstream, 'api.github.com', '/user', 'token other')).status).toBe(401);
    expect((await ask(upstream, 'api.github.com', '/user', 'token ghp_x')).status).toBe(200);
  });

  test('the event stream holds the second event back until the first is acknowledged', async () => {
    const upstream = keep(await startSse('sse.test', ['one', 'two']));
    const { cert } = await testCa();
    const peer = await wrapTls(await dial(upstream.port), { ca: cert, servername: 'sse.test' });
    await peer.send('GET / HTTP/1.1\r\nHost: sse.test\r\n\r\n');
    await peer.until('data: one\n\n');
    expect(peer.rest.toString()).not.toContain('two');
    upstream.acknowledge();
    await peer.until('data: two\n\n');
    peer.cut();
  });

  test('the bulk server gives as many bytes as asked for, always the same', async () => {
    const upstream = keep(await startBulk('bulk.test'));
    const { body } = await ask(upstream, 'bulk.test', '/3000000');
    expect(body.length).toBe(3_000_000);
    expect(createHash('sha256').update(body).digest('hex')).toBe(upstream.sha256(3_000_000));
  });
});

describe('archives', () => {
  needs('tar')('tar reads what we write', async () => {
    const archive = gzipSync(tar({ 'a/b.txt': 'text', 'c.txt': '' }));
    const ran = await runOk('tar', ['-tzvf', '-'], { env: cleanEnv(), input: archive });
    expect(ran.stdout).toMatch(/ 4 .* a\/b\.txt\n.* 0 .* c\.txt\n/);
  });

  needs('python3')('Python reads the zip archive that we write', async () => {
    const script = 'import io,sys,zipfile; z=zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read()))\n';
    const input = zip({ 'a.txt': 'text', 'd/b.txt': 'more' });
    const ran = await runOk('python3', ['-c', `${script}print(z.testzip(), z.read('d/b.txt'))`], {
      env: cleanEnv(),
      input,
    });
    expect(ran.stdout.trim()).toBe("None b'more'");
  });
});

describe('clients', () => {
  needs('git', 'git-http-backend')(
    'git clones from the git stand-in, and only with the password',
    async () => {
      const upstream = keep(
        await startGit({ host: 'git.test', credential: 'u:p', repositories: ['acme/hello.git'] }),
      );
      const clone = (url: string): Promise<{ code: number }> =>
        run('git', ['clone', '-q', url, 'out'], {
          env: cleanEnv({
            GIT_TERMINAL_PROMPT: '0',
            GIT_SSL_NO_VERIFY: '1', // the name in the certificate is not the address
          }),
        });
      expect((await clone(`https://u:p@${upstream.address}/acme/hello.git`)).code).toBe(0);
      expect((await clone(`https://u:wrong@${upstream.address}/acme/hello.git`)).code).not.toBe(0);
    },
  );

  test('an environment holds nothing of this process', () => {
    const names = Object.keys(cleanEnv());
    expect(names.toSorted()).toEqual(['HOME', 'LANG', 'PATH', 'TMPDIR']);
  });

  test('the CA file holds the root', async () => {
    const ca = await testCa();
    expect(readFileSync(ca.file, 'utf8').trim()).toBe(ca.cert.trim());
  });
});
