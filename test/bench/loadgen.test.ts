import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

const SOURCE = fileURLToPath(new URL('../../bench/loadgen.c', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'stubgate-loadgen-'));
const binary = join(dir, 'loadgen');
const buildable =
  spawnSync('gcc', ['-fsyntax-only', '-include', 'openssl/ssl.h', '-x', 'c', '/dev/null']).status === 0;
const needed = process.env['STUBGATE_TEST_REQUIRE'] === '1';

beforeAll(() => {
  if (!buildable && !needed) return;
  const args = ['-O1', '-Wall', '-Wextra', '-Werror', '-o', binary, SOURCE, '-lssl', '-lcrypto'];
  expect(spawnSync('gcc', args, { encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' });
});
afterAll(() => rmSync(dir, { recursive: true }));

test.skipIf(!buildable && !needed).each([
  ['an address that is not loopback', ['-x', '192.0.2.1:80', '-t', 'a:443'], 'only loopback may be loaded'],
  ['a name for an address', ['-x', 'localhost:80', '-t', 'a:443'], 'an address is an IPv4 literal'],
  [
    'more seconds than its bound',
    ['-x', '127.0.0.1:1', '-t', 'a:443', '-d', '121'],
    'not a number in bounds',
  ],
  [
    'more connections than its bound',
    ['-x', '127.0.0.1:1', '-t', 'a:443', '-c', '12001'],
    'not a number in bounds',
  ],
  ['a pattern of names without %d', ['-x', '127.0.0.1:1', '-t', 'a%s:443', '-r', '2'], '-r needs one %d'],
  ['no target', ['-x', '127.0.0.1:1'], 'needs -t and one of -x and -A'],
])('the load generator refuses %s', (_, args, message) => {
  const { status, stderr } = spawnSync(binary, args, { encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 2, stderr: expect.stringContaining(message) });
});
