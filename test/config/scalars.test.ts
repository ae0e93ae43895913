import { describe, expect, it } from 'vitest';
import {
  parseDuration,
  parseListen,
  parseParentProxy,
  parseResolvedTo,
  parseSecretRef,
  parseSize,
} from '../../src/config/scalars.ts';
import { findSecrets, looksSecret } from '../../src/config/secrets.ts';
import { nearest, suggest } from '../../src/config/words.ts';

describe('parseDuration', () => {
  it.each([
    ['1ms', 1],
    ['500ms', 500],
    ['30s', 30_000],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['24d', 2_073_600_000],
    ['', undefined],
    ['0s', undefined],
    ['5', undefined],
    ['5M', undefined],
    ['-5s', undefined],
    ['1.5h', undefined],
    ['05s', undefined],
    ['1h30m', undefined],
    ['25d', undefined],
    ['9999999999d', undefined],
  ])('%j: %s ms', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });
});

describe('parseSize', () => {
  it.each([
    ['1B', 1],
    ['32KiB', 32_768],
    ['1MiB', 1_048_576],
    ['1GiB', 1_073_741_824],
    ['32', undefined],
    ['32KB', undefined],
    ['0B', undefined],
    ['9999999999GiB', undefined],
  ])('%j: %s bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });
});

describe('parseListen', () => {
  it.each([
    ['127.0.0.1:8080', { host: '127.0.0.1', port: 8080 }],
    ['localhost:1', { host: 'localhost', port: 1 }],
    ['[::]:8080', { host: '::', port: 8080 }],
    ['127.0.0.1:0', { host: '127.0.0.1', port: 0 }],
    ['127.0.0.1:10', { host: '127.0.0.1', port: 10 }],
    ['unix:/run/x', { path: '/run/x' }],
    ['unix:', undefined],
    [':8080', undefined],
    [':0', undefined],
    ['8080', undefined],
    ['127.0.0.1', undefined],
    ['127.0.0.1:00', undefined],
    ['http://127.0.0.1:80', undefined],
  ])('%j: %j', (text, address) => {
    expect(parseListen(text)).toEqual(address);
  });
});

describe('parseSecretRef', () => {
  it.each([
    ['env:A', { vault: 'env', id: 'A' }],
    ['aws:ci/github#token', { vault: 'aws', id: 'ci/github', field: 'token' }],
    ['gcp:projects/p/secrets/s?version=7', { vault: 'gcp', id: 'projects/p/secrets/s', version: '7' }],
    ['v:a?version=latest#x.y', { vault: 'v', id: 'a', version: 'latest', field: 'x.y' }],
    [
      'aws:arn:aws:secretsmanager:eu-west-1:123456789012:secret:ci/x-AbCdEf',
      { vault: 'aws', id: 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:ci/x-AbCdEf' },
    ],
    ['file:/run/my secret', { vault: 'file', id: '/run/my secret' }],
    ['', undefined],
    ['env', undefined],
    ['env:', undefined],
    [':A', undefined],
    ['e v:A', undefined],
    ['env:A#', undefined],
    ['env:A?version=', undefined],
    ['env:A?v=1', undefined],
    ['env:A?version=1?version=2', undefined],
    ['env:A\nB', undefined],
    ['env: A', undefined],
  ])('%j: %j', (text, ref) => {
    expect(parseSecretRef(text)).toEqual(ref);
  });
});

describe('parseResolvedTo', () => {
  it.each([
    ['127.0.0.1', { address: '127.0.0.1' }],
    ['127.0.0.1:9443', { address: '127.0.0.1', port: 9443 }],
    ['10.0.0.1:1', { address: '10.0.0.1', port: 1 }],
    ['::1', { address: '::1' }],
    ['[::1]', { address: '::1' }],
    ['[0::1]:80', { address: '::1', port: 80 }],
    ['::ffff:127.0.0.1', { address: '::ffff:127.0.0.1' }],
    ['localhost', undefined],
    ['localhost:80', undefined],
    ['127.1:80', undefined],
    ['127.0.0.1:', undefined],
    ['127.0.0.1:0', undefined],
    ['127.0.0.1:65536', undefined],
    ['::1%lo', undefined],
    ['169.254.169.254', undefined],
    ['[fd00:ec2::254]:80', undefined],
    ['', undefined],
  ])('%j: %j', (text, resolved) => {
    expect(parseResolvedTo(text)).toEqual(resolved);
  });
});

describe('parseParentProxy', () => {
  it.each([
    ['http://proxy:3128', { scheme: 'http', host: 'proxy', port: 3128 }],
    ['https://Proxy.corp:443/', { scheme: 'https', host: 'proxy.corp', port: 443 }],
    ['http://[::1]:3128', { scheme: 'http', host: '::1', port: 3128 }],
    ['http://proxy', undefined],
    ['proxy:3128', undefined],
    ['socks5://proxy:1080', undefined],
    ['http://u:p@proxy:3128', undefined],
    ['http://proxy:3128/x', undefined],
    ['http://proxy:3128?x', undefined],
  ])('%j: %j', (text, proxy) => {
    expect(parseParentProxy(text)).toEqual(proxy);
  });
});

describe('what looks like a secret', () => {
  const varied = 'a0B1c2D3e4F5g6H7i8J9k0L1m2N3o4P5q6R7';

  it.each([
    `ghp_${varied}`,
    `github_pat_${varied}`,
    `sk-proj-${varied}`,
    `sk-ant-api03-${varied}`,
    `xoxb-123-456-${varied}`,
    `glpat-${varied}`,
    `npm_${varied}`,
    `hvs.${varied}`,
    'AKIA0123456789ABCDEF',
    `eyJhbGciOiJIUzI1NiJ9.${varied}`,
    '-----BEGIN PRIVATE KEY-----',
    '-----BEGIN RSA PRIVATE KEY-----',
    'https://user:pass@example.com',
    'http://a:b@c',
  ])('%s', text => {
    expect(findSecrets(`a: "${text}" # x`)).toEqual([expect.any(Number)]);
    expect(looksSecret(text)).toBe(true);
  });

  it.each([varied, `prefix-${varied}`])('%s, where a name is expected', text => {
    expect(findSecrets(text)).toEqual([]);
    expect(looksSecret(text)).toBe(true);
  });

  it.each([
    'sk-proj-{48}',
    'ghp_{36}',
    'ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx',
    'github-pat',
    'task-list-of-something-long-and-harmless',
    'GITHUB_TOKEN_FOR_THE_READONLY_ACCOUNT_2',
    'arn:aws:secretsmanager:eu-west-1:123456789012:secret:ci/github-AbCdEf',
    '72f988bf-86f1-41af-91ab-2d7cd011db47',
    'https://vault.corp:8200/v1',
    'http://<session>:<token>@127.0.0.1:8080',
    '-----BEGIN CERTIFICATE-----',
  ])('not %s', text => {
    expect(findSecrets(text)).toEqual([]);
    expect(looksSecret(text)).toBe(false);
  });
});

describe('suggest', () => {
  it.each([
    ['metods', 'methods'],
    ['mehtods', 'methods'],
    ['METHODS', 'methods'],
    ['host', 'hosts'],
    ['x', undefined],
    ['frobnicate', undefined],
  ])('%s: %s', (written, meant) => {
    expect(nearest(written, ['methods', 'hosts', 'paths'])).toBe(meant);
  });

  it('names what there is, no more than can be read, and nothing that may be a secret', () => {
    expect(suggest('x', [])).toBe('leave it out');
    expect(suggest('x', [], 'define it')).toBe('define it');
    expect(suggest('x', ['alpha'])).toBe('write alpha');
    expect(suggest('x', ['alpha', 'beta', 'alpha', 'a0B1c2D3e4F5g6H7i8J9k0'])).toBe(
      'write one of alpha, beta',
    );
    expect(
      suggest(
        'x',
        Array.from({ length: 99 }, (_, i) => `rule-${i}`),
      ).split(','),
    ).toHaveLength(20);
  });
});
