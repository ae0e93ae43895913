import { describe, expect, it } from 'vitest';
import { explain } from '../../src/cli/explain.ts';
import { compileConfig } from '../../src/config/compile.ts';
import { parseConfig } from '../../src/config/load.ts';

const compiled = compileConfig(
  parseConfig(
    `version: 1
credentials: { gh: { from: env:GH, stub: { env: GITHUB_TOKEN } }, handed: { capture: true } }
rules:
  - { name: pinned, hosts: [pinned.example.test], action: tunnel }
  - { name: no-admin, hosts: ["*.example.test"], paths: ["/admin/**"], action: deny }
  - { name: api, hosts: [api.example.test], methods: [GET], paths: ["/v1/*"], inject: [{ credential: gh, as: bearer, required: true }] }
  - { name: any, hosts: [api.example.test] }
  - { name: late, hosts: [late.example.test], action: tunnel }
  - { name: clear, hosts: [clear.example.test], schemes: [http] }
  - { name: chat, hosts: [chat.example.test], methods: [GET], inject: [{ credential: gh, as: websocket, pointer: /token }] }
  - name: places
    hosts: [places.example.test]
    inject:
      - { credential: gh, as: path, template: "/bot{credential}/**" }
      - { credential: gh, as: cookie, name: sid }
      - { credential: gh, as: json, pointer: /auth/key }
      - { credential: gh, as: form, field: client_secret }
  - { name: token, hosts: [token.example.test], capture: [{ credential: handed, at: json, pointer: /access_token }] }
profiles:
  default: { rules: [pinned, no-admin, api, any, late, clear, chat, places] }
  tokens: { rules: [token] }
  small: { rules: [clear] }
`,
    '/stubgate.yaml',
  ),
);

const ask = (method: string, url: string, profile = 'default') => explain(compiled, profile, method, url);

describe('the verdict', () => {
  it.each([
    ['GET', 'https://api.example.test/v1/x', 'allow', null, 'api'],
    ['GET', 'https://API.example.test./v1/x?q=1', 'allow', null, 'api'],
    ['POST', 'https://api.example.test/v1/x', 'allow', null, 'any'],
    ['GET', 'https://api.example.test', 'allow', null, 'any'],
    ['GET', 'https://api.example.test/admin/x', 'deny', 'rule_denies', 'no-admin'],
    ['GET', 'https://api.example.test/%61dmin/x', 'deny', 'rule_denies', 'no-admin'],
    ['GET', 'https://pinned.example.test/', 'tunnel', null, 'pinned'],
    ['GET', 'https://late.example.test/', 'deny', 'rule_denies', 'late'],
    ['GET', 'http://clear.example.test/', 'allow', null, 'clear'],
    ['GET', 'https://clear.example.test/', 'deny', 'no_rule', null],
    ['GET', 'https://api.example.test:8443/', 'deny', 'no_rule', null],
    ['GET', 'https://elsewhere.test/', 'deny', 'no_rule', null],
    ['GET', 'https://api.example.test/v1/../x', 'deny', 'ambiguous_path', null],
    ['GET', 'https://api.example.test//v1', 'deny', 'ambiguous_path', null],
    ['GET', 'wss://chat.example.test/socket?room=1', 'allow', null, 'chat'],
    ['GET', 'wss://CHAT.example.test.:443/', 'allow', null, 'chat'],
    ['GET', 'wss://pinned.example.test/', 'tunnel', null, 'pinned'],
    ['GET', 'wss://api.example.test/admin/x', 'deny', 'rule_denies', 'no-admin'],
    ['GET', 'wss://chat.example.test/a/../b', 'deny', 'ambiguous_path', null],
    ['GET', 'ws://clear.example.test/', 'allow', null, 'clear'],
    ['GET', 'ws://chat.example.test/', 'deny', 'no_rule', null],
    ['GET', 'wss://clear.example.test/', 'deny', 'no_rule', null],
  ])('of %s %s is %s', (method, url, verdict, reason, rule) => {
    expect(ask(method, url)).toMatchObject({ verdict, reason, rule });
  });
});

it('tells of each rule, in order, why it does not match', () => {
  const { rules } = ask('POST', 'https://api.example.test/v2/x');
  expect(rules.map(({ rule, matches, why }) => [rule, matches, why])).toEqual([
    ['pinned', false, 'host api.example.test is not pinned.example.test'],
    ['no-admin', false, 'path /v2/x is not /admin/**'],
    ['api', false, 'method POST is not GET'],
    ['any', true, ''],
    ['late', false, 'host api.example.test is not late.example.test'],
    ['clear', false, 'host api.example.test is not clear.example.test'],
    ['chat', false, 'host api.example.test is not chat.example.test'],
    ['places', false, 'host api.example.test is not places.example.test'],
  ]);
});

it('asks the rules of the profile only', () => {
  expect(ask('GET', 'https://api.example.test/', 'small')).toMatchObject({
    verdict: 'deny',
    reason: 'no_rule',
  });
  expect(ask('GET', 'https://api.example.test/', 'small').rules.map(row => row.rule)).toEqual(['clear']);
});

it('tells what is injected', () => {
  expect(ask('GET', 'https://api.example.test/v1/x').inject).toEqual([
    {
      credential: 'gh',
      as: 'bearer',
      at: 'header authorization',
      when: 'stub',
      required: true,
      foreign: 'refuse',
    },
  ]);
  expect(ask('POST', 'https://api.example.test/v1/x').inject).toEqual([]);
});

it('tells where in a path, a cookie or a body', () => {
  expect(ask('POST', 'https://places.example.test/').inject.map(({ as, at }) => [as, at])).toEqual([
    ['path', 'path /bot{credential}'],
    ['cookie', 'cookie sid'],
    ['json', 'json /auth/key'],
    ['form', 'form client_secret'],
  ]);
});

it('tells of a WebSocket that it is one, and what is injected in its handshake and its messages', () => {
  expect(ask('GET', 'wss://chat.example.test/')).toMatchObject({
    request: 'GET wss://chat.example.test/',
    websocket: true,
    inject: [{ credential: 'gh', as: 'websocket', at: 'websocket /token' }],
  });
  expect(ask('GET', 'https://chat.example.test/').websocket).toBe(false);
  // A handshake has no body.
  expect(ask('GET', 'wss://places.example.test/').inject.map(({ as }) => as)).toEqual(['path', 'cookie']);
});

it.each([
  ['GET', 'api.example.test'],
  ['POST', 'wss://chat.example.test/'],
  ['GET', 'WSS://chat.example.test/'],
  ['GET', 'wss:/chat.example.test/'],
  ['GET', 'ftp://api.example.test/'],
  ['GET', 'https://user@api.example.test/'],
  ['GET', 'https://api.example.test/#x'],
  ['GET', 'https://127.1/'],
  ['get', 'https://api.example.test/'],
])('refuses to explain %s %s', (method, url) => {
  expect(() => ask(method, url)).toThrow(expect.objectContaining({ name: 'UsageError' }));
});

it('tells what is captured', () => {
  expect(ask('POST', 'https://token.example.test/', 'tokens').capture).toEqual([
    { credential: 'handed', at: 'json /access_token' },
  ]);
  expect(ask('GET', 'https://api.example.test/').capture).toBeUndefined();
});
