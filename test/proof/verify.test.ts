/* oxlint-disable typescript/unbound-method -- a method that is replaced is called with its own `this` */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { AuditLog } from '../../src/audit/log.ts';
import { compileConfig } from '../../src/config/compile.ts';
import { loadConfig } from '../../src/config/load.ts';
import { Metrics } from '../../src/audit/metrics.ts';
import { Flow } from '../../src/flow.ts';
import { CanaryVault } from '../../src/proof/canary.ts';
import { Reflector } from '../../src/proof/reflector.ts';
import { isProved, type Leak, type Report, verdictOf } from '../../src/proof/report.ts';
import { CODINGS, SPELLINGS } from '../../src/proof/spellings.ts';
import { verify } from '../../src/proof/verify.ts';
import { Scrubber } from '../../src/scrub/index.ts';
import type { RawHeaders, Sink } from '../../src/types.ts';
import { tempFolder } from '../audit/event.ts';
import { BEARER, compiledWith, writeRules } from './stage.ts';

/** The canaries that gates have read. */
let read: string[] = [];

beforeEach(() => {
  read = [];
  const original = CanaryVault.prototype.read;
  vi.spyOn(CanaryVault.prototype, 'read').mockImplementation(async function (this: CanaryVault, ref) {
    const secret = await original.call(this, ref);
    read.push(secret.reveal());
    return secret;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

const leaksOf = ({ rules, elsewhere }: Report): Leak[] => [
  ...rules.flatMap(({ leaks }) => leaks),
  ...elsewhere,
];
const kindsOf = (leaks: readonly Leak[]): string[] => [...new Set(leaks.map(({ kind }) => kind))].toSorted();

/** Scrubs everything but the fields that are chosen. */
function spareFields(isSpared: (raw: RawHeaders) => boolean): void {
  const { headers } = Scrubber.prototype;
  vi.spyOn(Scrubber.prototype, 'headers').mockImplementation(function (this: Scrubber, raw) {
    return isSpared(raw) ? raw : headers.call(this, raw);
  });
}

/** Scrubs everything but the bodies that are chosen, by the fields of their message. */
function spareBodies(isSpared: (headers: RawHeaders) => boolean): void {
  const { body, whole } = Scrubber.prototype;
  vi.spyOn(Scrubber.prototype, 'body').mockImplementation(function (
    this: Scrubber,
    next: Sink,
    headers = [],
  ) {
    return isSpared(headers) ? next : body.call(this, next, headers);
  });
  vi.spyOn(Scrubber.prototype, 'whole').mockImplementation(function (this: Scrubber, bytes, headers = []) {
    return headers.length > 0 && isSpared(headers) ? bytes : whole.call(this, bytes, headers);
  });
}

const names = (raw: RawHeaders, name: string): boolean => raw.some(text => text.toLowerCase() === name);
const isOfType = (raw: RawHeaders, type: string): boolean => raw.some(text => text.startsWith(type));

describe('a gate that leaks', () => {
  it.each<[string, kind: string, place: RegExp, plant: () => void]>([
    [
      'a status text',
      'status text',
      /^status line$/,
      () => {
        const { text } = Scrubber.prototype;
        vi.spyOn(Scrubber.prototype, 'headers').mockImplementation(function (this: Scrubber, raw) {
          return raw.map(one => text.call(this, one));
        });
        vi.spyOn(Scrubber.prototype, 'text').mockImplementation(value => value);
      },
    ],
    [
      'a field',
      'header',
      /^header x-echo-authorization$/,
      () => spareFields(raw => names(raw, 'x-echo-authorization')),
    ],
    ['a cookie', 'cookie', /^header set-cookie$/i, () => spareFields(raw => names(raw, 'set-cookie'))],
    ['a redirect', 'redirect', /^header location$/i, () => spareFields(raw => names(raw, 'location'))],
    [
      'a trailer',
      'trailer',
      /^trailer x-echo-authorization$/,
      () => spareFields(raw => names(raw, 'x-echo-authorization')),
    ],
    ['an answer to HEAD', 'HEAD', /^header x-/, () => spareFields(raw => names(raw, 'x-echo-authorization'))],
    ['an event', 'event stream', /^body$/, () => spareBodies(raw => isOfType(raw, 'text/event-stream'))],
    ['a range', 'range', /^body$/, () => spareBodies(raw => isOfType(raw, 'multipart/byteranges'))],
    ['a gRPC message', 'gRPC', /^body$/, () => spareBodies(raw => isOfType(raw, 'application/grpc'))],
    [
      'a gRPC status',
      'gRPC',
      /^trailer grpc-message$/i,
      () => spareFields(raw => names(raw, 'grpc-message')),
    ],
    ['an image', 'body', /^body$/, () => spareBodies(raw => isOfType(raw, 'image/png'))],
    ['a WebSocket message', 'WebSocket', /^messages$/, () => spareBodies(raw => raw.length === 0)],
  ])('is found out: %s', async (_, kind, place, plant) => {
    plant();
    const report = await verify({ compiled: compiledWith(BEARER) });
    const found = leaksOf(report).filter(leak => leak.kind === kind);
    expect(found.map(leak => leak.place)).toContainEqual(expect.stringMatching(place));
    expect(found.every(({ credential }) => credential === 'token')).toBe(true);
    expect(report.rules.map(verdictOf)).toEqual(['LEAK']);
    expect(isProved(report)).toBe(false);
  });

  it('is found out for each body that it does not scrub, by spelling, coding and piece', async () => {
    spareBodies(() => true);
    const report = await verify({ compiled: compiledWith(BEARER) });
    const leaks = leaksOf(report);
    // The probes of other kinds have a body, too.
    expect(kindsOf(leaks)).toEqual([
      'WebSocket',
      'body',
      'body in pieces',
      'compressed body',
      'error page',
      'event stream',
      'gRPC',
      'interim answer',
      'range',
      'spelled body',
      'status text',
    ]);
    const of = (kind: string): Set<string> =>
      new Set(leaks.filter(leak => leak.kind === kind).map(({ probe }) => probe));
    expect([...of('spelled body')].toSorted()).toEqual([...SPELLINGS.keys()].toSorted());
    for (const coding of CODINGS.keys())
      expect(of('compressed body')).toContain(coding === 'deflate ' ? 'deflate without a frame' : coding);
    expect(of('body in pieces').size).toBe(4);
    expect(of('error page').size).toBe(7);
  });

  it.each<[string, RegExp, plant: () => void]>([
    [
      'its audit',
      /audit\.jsonl/,
      () => {
        const { write } = AuditLog.prototype;
        vi.spyOn(AuditLog.prototype, 'write').mockImplementation(function (this: AuditLog, event) {
          write.call(this, { ...event, path: `/${Buffer.from(read[0] ?? '').toString('hex')}` });
        });
      },
    ],
    [
      'its log',
      /^the log$/,
      () => {
        const { handle } = Flow.prototype;
        vi.spyOn(Flow.prototype, 'handle').mockImplementation(async function (this: Flow, ...args) {
          await handle.apply(this, args);
          this.rooms.log.debug('served', { with: read[0] });
        });
      },
    ],
    [
      'its metrics',
      /^the metrics/,
      () => {
        const { text } = Metrics.prototype;
        vi.spyOn(Metrics.prototype, 'text').mockImplementation(function (this: Metrics, ...args) {
          return `${text.apply(this, args)}x{token="${read[0]}"} 1\n`;
        });
      },
    ],
    [
      'a file',
      /^the file gate\/cache\.txt/,
      () => {
        const folder = tempFolder();
        vi.stubEnv('TMPDIR', folder);
        const { handle } = Flow.prototype;
        vi.spyOn(Flow.prototype, 'handle').mockImplementation(async function (this: Flow, ...args) {
          await handle.apply(this, args);
          for (const stand of readdirSync(folder).filter(name => name.startsWith('stubgate-verify-')))
            writeFileSync(join(folder, stand, 'gate', 'cache.txt'), read[0] ?? '');
        });
      },
    ],
  ])('is found out, into %s', async (_, place, plant) => {
    plant();
    const report = await verify({ compiled: compiledWith(BEARER) });
    expect(report.elsewhere.map(leak => leak.place)).toContainEqual(expect.stringMatching(place));
    expect(isProved(report)).toBe(false);
  });

  it('is found out, through a rule that denies', async () => {
    const compiled = compiledWith('{ name: no, hosts: [api.test], action: deny }');
    writeRules(compiled.config.file, '{ name: no, hosts: [api.test] }');
    const report = await verify({ compiled });
    expect(report.rules[0]?.notRun[0]?.why).toBe('the request arrived, although the rule denies it');
    expect(isProved(report)).toBe(false);
  });

  it('is found out, in a tunnel in which it swaps', async () => {
    const { take } = Reflector.prototype;
    vi.spyOn(Reflector.prototype, 'take').mockImplementation(function (this: Reflector, id) {
      const received = take.call(this, id);
      return (
        received && {
          ...received,
          headers: received.headers.map(
            ([name, value]) => [name, name === 'x-stub' ? (read[0] ?? value) : value] as const,
          ),
        }
      );
    });
    const report = await verify({
      compiled: compiledWith(BEARER, '{ name: pinned, hosts: [pinned.test], action: tunnel }'),
    });
    const tunnel = report.rules.find(({ rule }) => rule === 'pinned');
    expect(tunnel?.leaks).toMatchObject([
      { credential: 'token', probe: 'tunnel', place: 'what the upstream received' },
    ]);
  });
});

describe('a gate that does not', () => {
  it('passes, on every rule and every profile, with nothing left out', async () => {
    const compiled = compiledWith(
      BEARER,
      '{ name: key, hosts: [key.test], inject: [{ credential: token, as: header, name: x-api-key }] }',
      '{ name: downloads, hosts: ["*.downloads.test"], methods: [GET, HEAD] }',
      '{ name: json, hosts: [json.test], methods: [POST], inject: [{ credential: token, as: json, pointer: /a/b }] }',
      '{ name: socket, hosts: [ws.test], inject: [{ credential: token, as: websocket, pointer: /token }] }',
      '{ name: no, hosts: [no.test], action: deny }',
      '{ name: pinned, hosts: [pinned.test], action: tunnel }',
    );
    const report = await verify({ compiled });
    expect(
      report.rules.flatMap(({ rule, leaks, notRun }) => [...leaks, ...notRun].map(one => ({ rule, ...one }))),
    ).toEqual([]);
    expect(report.elsewhere).toEqual([]);
    expect(isProved(report)).toBe(true);
    const counted = [...report.matrix.values()].flatMap(row => [...row.values()]);
    expect(counted.reduce((sum, count) => sum + count, 2)).toBe(
      report.rules.reduce((sum, { probes }) => sum + probes, 0),
    );
  });
});

describe('a credential of several parts, or one that nobody holds yet', () => {
  const CONFIG = `version: 1
credentials:
  aws: { from: "env:STUBGATE_TEST_AWS", stub: { env: AWS_ACCESS_KEY_ID, shape: aws } }
  app: { from: "env:STUBGATE_TEST_APP", stub: { env: APP } }
  user: { capture: true, stub: { shape: github-pat } }
rules:
  - name: s3
    hosts: ["*.amazonaws.com"]
    inject: [{ credential: aws, as: aws-sigv4, regions: [eu-west-1], services: [s3] }]
  - name: login
    hosts: [login.test]
    methods: [POST]
    inject: [{ credential: app, as: form, field: client_secret }]
    capture: [{ credential: user, at: json, pointer: /access_token }]
  - { name: api, hosts: [api.test], inject: [{ credential: user, as: bearer }] }
`;

  it('is tried like any: AWS keys that sign, and what a response would hand out', async () => {
    const file = join(tempFolder(), 'stubgate.yaml');
    writeFileSync(file, CONFIG);
    const report = await verify({ compiled: compileConfig(loadConfig(file)) });
    expect(report.rules.map(({ rule, credential, probes }) => [rule, credential, probes > 100])).toEqual([
      ['s3', 'aws', true],
      ['login', 'app', true],
      ['api', 'user', true],
    ]);
    expect(isProved(report)).toBe(true);
  });

  it('is tried like any: a cookie, keys for every region, what is exchanged for the session’s token', async () => {
    const file = join(tempFolder(), 'stubgate.yaml');
    writeFileSync(
      file,
      `version: 1
credentials:
  aws: { from: "env:STUBGATE_TEST_AWS", stub: { env: AWS_ACCESS_KEY_ID, shape: aws } }
  sid: { capture: true }
  mine: { mint: { type: token-exchange, subject: session, token_url: "https://sts.test/token" }, stub: { env: MINE } }
rules:
  - name: web
    hosts: [web.test]
    inject: [{ credential: sid, as: cookie, name: sid }]
    capture: [{ credential: sid, at: set-cookie, name: sid }]
  - name: access-point
    hosts: [x.accesspoint.test]
    inject: [{ credential: aws, as: aws-sigv4, regions: ["*"], services: [s3] }]
  - { name: exchanged, hosts: [orders.test], inject: [{ credential: mine, as: bearer }] }
`,
    );
    const report = await verify({ compiled: compileConfig(loadConfig(file)) });
    expect(report.rules.map(({ rule, credential, probes }) => [rule, credential, probes > 100])).toEqual([
      ['web', 'sid', true],
      ['access-point', 'aws', true],
      ['exchanged', 'mine', true],
    ]);
    expect(isProved(report)).toBe(true);
  });

  it('leaks like any', async () => {
    const file = join(tempFolder(), 'stubgate.yaml');
    writeFileSync(file, CONFIG);
    spareBodies(() => true);
    const { rules } = await verify({ compiled: compileConfig(loadConfig(file)) });
    expect(rules.filter(one => verdictOf(one) === 'LEAK').map(({ rule }) => rule)).toEqual(
      expect.arrayContaining(['s3', 'api']),
    );
  });
});

it('what would end a proof early does not: limits, what an alarm does, a Redis that is not there', async () => {
  vi.stubEnv('STUBGATE_TEST_TOKEN', 'a-secret-of-this-test');
  const file = join(tempFolder(), 'stubgate.yaml');
  writeFileSync(
    file,
    `version: 1
state: redis://127.0.0.1:1/0
credentials: { token: { from: "env:STUBGATE_TEST_TOKEN", stub: { env: TOKEN }, limits: { requests: 1/h } } }
rules: [${BEARER}]
profiles: { default: { rules: [api], limits: { requests: 1 }, on_alarm: revoke } }
`,
  );
  const report = await verify({ compiled: compileConfig(loadConfig(file)) });
  expect(report.rules.map(verdictOf)).toEqual(['pass']);
});

describe('what was not tried', () => {
  it('fails: a rule that no request reaches', async () => {
    const compiled = compiledWith('{ name: all, hosts: [api.test] }', BEARER);
    const report = await verify({ compiled });
    expect(report.rules.map(rule => [rule.rule, verdictOf(rule)])).toEqual([
      ['all', 'pass'],
      ['api', 'not run'],
    ]);
    expect(report.rules[1]?.notRun[0]?.why).toMatch(/no request reaches the rule/);
    expect(isProved(report)).toBe(false);
  });

  it('fails: a probe that did not arrive', async () => {
    vi.spyOn(Reflector.prototype, 'take').mockImplementation(() => undefined);
    const report = await verify({ compiled: compiledWith(BEARER) });
    const [rule] = report.rules;
    expect(rule?.notRun).toHaveLength(rule?.probes ?? 0);
    expect(report.rules.map(verdictOf)).toEqual(['not run']);
  });

  it('fails: no rule at all in the profile', () => {
    expect(isProved({ rules: [], elsewhere: [], matrix: new Map(), seconds: 0 })).toBe(false);
  });
});

it('leaves nothing behind, and reads no secret of the configuration', async () => {
  const compiled = compiledWith(BEARER);
  const folder = tempFolder();
  vi.stubEnv('TMPDIR', folder);
  vi.stubEnv('STUBGATE_TEST_TOKEN', 'not-to-be-read-by-anybody');
  await verify({ compiled });
  expect(readdirSync(folder)).toEqual([]);
  expect(read).not.toContain('not-to-be-read-by-anybody');
  expect(readFileSync(compiled.config.file, 'utf8')).not.toContain(read[0]);
});

it('leaves nothing behind when no gate can be started', async () => {
  const folder = tempFolder();
  vi.stubEnv('TMPDIR', folder);
  const compiled = compiledWith(BEARER);
  writeRules(compiled.config.file, 'not a rule');
  await expect(verify({ compiled })).rejects.toThrow();
  expect(readdirSync(folder).filter(name => name.startsWith('stubgate-verify-'))).toEqual([]);
});
