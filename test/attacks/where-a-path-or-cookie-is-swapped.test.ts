import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Reason, REASONS } from '../../src/errors.ts';
import { type Case, message, play } from './case.ts';
import { openScene, type Scene } from './scene.ts';

const [BOT, FREE, SITE] = ['ports.test', 'a.b.wild.test', 'a.wild.test'];
const OK_BODY = { status: 200, body: 'ok' } as const;

const bot = { credential: 'api', as: 'path', template: '/bot{credential}/**' };
const cookie = { credential: 'api', as: 'cookie', name: 'sid' };

let scene: Scene;
let other: string;
beforeAll(async () => {
  scene = await openScene({
    rules: () => [
      { name: 'closed', hosts: [BOT], paths: ['/bot*/close'], action: 'deny' },
      { name: 'bot', hosts: [BOT], methods: ['GET'], inject: [bot] },
      { name: 'set', hosts: [FREE], paths: ['/bot*/always'], inject: [{ ...bot, when: 'always' }] },
      { name: 'free', hosts: [FREE], inject: [{ ...bot, foreign: 'pass' }] },
      { name: 'site', hosts: [SITE], inject: [cookie] },
    ],
  });
  other = (await scene.gate.session()).stubs['API_KEY'] ?? '';
});
afterAll(() => scene.close());

const percent = (text: string): string =>
  text
    .split('')
    .map(c => `%${c.charCodeAt(0).toString(16)}`)
    .join('');
const get = (host: string, target: string, lines: readonly string[] = []): string =>
  message([`GET ${target} HTTP/1.1`, `Host: ${host}`, ...lines]);
const named = (cases: readonly Case[]): [string, Case][] => cases.map(c => [c.name, c]);

/** HERE stands for the stub at its place. */
interface Sent {
  host: string;
  target: string;
  lines?: readonly string[];
  spell?: (stub: string) => string;
}
const text = ({ host, target, lines }: Sent, here: string): string =>
  get(host, target, lines).replaceAll('HERE', here);

const swapped = (name: string, sent: Sent, path: string): Case => ({
  name,
  host: sent.host,
  send: s => Buffer.from(text(sent, (sent.spell ?? String)(s.stub)), 'latin1'),
  ...OK_BODY,
  upstream: text(sent, 'SECRET'),
  audit: {
    path,
    stubs_seen: 1,
    injected: [
      {
        credential: 'api',
        placement: sent.host === SITE ? 'cookie sid' : 'path /bot{credential}',
        version: expect.any(String) as string,
      },
    ],
  },
});
const refused = (name: string, sent: Sent, reason: Reason, path = '[withheld]'): Case => ({
  name,
  host: sent.host,
  send: s => Buffer.from(text(sent, (sent.spell ?? String)(s.stub)), 'latin1'),
  status: REASONS[reason].status,
  reason,
  audit: { path, injected: [] },
});

describe('a stub in the path', () => {
  test.each(
    named([
      swapped('is swapped', { host: BOT, target: '/botHERE/sendMessage' }, '/bot[stub]/sendMessage'),
      swapped('is swapped before a query', { host: BOT, target: '/botHERE?a=/b' }, '/bot[stub]'),
      swapped(
        'is swapped percent-encoded, and nothing else is touched',
        { host: BOT, target: '/botHERE/a%20b//c/?x=%20', spell: percent },
        '/bot[stub]/a%20b//c/',
      ),
      swapped('is swapped where others may pass', { host: FREE, target: '/botHERE/x' }, '/bot[stub]/x'),
      swapped(
        'is swapped where a credential is always set',
        { host: FREE, target: '/botHERE/always' },
        '/bot[stub]/always',
      ),
      refused('is refused with more before it', { host: BOT, target: '/botxHERE/x' }, 'stub_misplaced'),
      refused('is refused with more behind it', { host: BOT, target: '/botHEREx/x' }, 'stub_misplaced'),
      refused('is refused in another segment', { host: BOT, target: '/bot/HERE' }, 'stub_misplaced'),
      refused('is refused a level down', { host: BOT, target: '/v1/botHERE/x' }, 'stub_misplaced'),
      refused('is refused twice', { host: BOT, target: '/botHERE/HERE' }, 'stub_misplaced'),
      refused('is refused in the query too', { host: BOT, target: '/botHERE/x?a=HERE' }, 'stub_misplaced'),
      refused(
        'is refused percent-encoded twice',
        { host: BOT, target: '/botHERE/x', spell: stub => percent(percent(stub)) },
        'stub_misplaced',
      ),
      refused(
        'is refused behind another spelling of the template',
        { host: BOT, target: '/%62otHERE/x' },
        'stub_misplaced',
      ),
      refused(
        'is refused if it is another session’s',
        { host: BOT, target: '/botHERE/x', spell: () => other },
        'stub_misplaced',
      ),
      refused(
        'is refused in base64',
        { host: BOT, target: '/botHERE/x', spell: stub => btoa(stub).replaceAll('=', '') },
        'stub_misplaced',
      ),
      refused(
        'is refused where a rule denies the path as it was sent',
        { host: BOT, target: '/botHERE/close' },
        'rule_denies',
      ),
    ]),
  )('%s', (_, c) => play(scene, c));

  test('is withheld from the audit where no rule allows the request', () =>
    play(scene, {
      name: '',
      host: BOT,
      send: s => Buffer.from(`POST /bot${s.stub}/x HTTP/1.1\r\nHost: ${BOT}\r\nContent-Length: 0\r\n\r\n`),
      status: 403,
      reason: 'no_rule',
      audit: { path: '[withheld]', stubs_seen: 1 },
    }));
});

describe('another credential in the path', () => {
  const passed = (target: string, path: string): Case => ({
    name: target,
    host: FREE,
    send: get(FREE, target),
    ...OK_BODY,
    upstream: get(FREE, target),
    audit: { path, injected: [] },
  });

  test.each(
    named(
      [
        refused('is refused', { host: BOT, target: '/bot123:mine/x' }, 'foreign_credential'),
        refused(
          'is refused in another spelling of the template',
          { host: BOT, target: '/%62ot123:mine/x' },
          'foreign_credential',
        ),
        refused(
          'is an alarm if it is the real one',
          { host: BOT, target: '/botHERE/x', spell: () => scene.secret },
          'secret_in_request',
        ),
        {
          ...swapped(
            'is overwritten where one is always set',
            { host: FREE, target: '/botHERE/always' },
            '/bot[withheld]/always',
          ),
          send: get(FREE, '/bot123:mine/always'),
        },
        passed('/bot123:mine/x', '/bot[withheld]/x'),
        passed('/botany', '/bot[withheld]'),
        passed('/bot/x', '/bot/x'),
        passed('/other', '/other'),
      ].map(c => (c.name.startsWith('is overwritten') ? { ...c, audit: { ...c.audit, stubs_seen: 0 } } : c)),
    ),
  )('%s', (_, c) => play(scene, c));
});

describe('a stub in a cookie', () => {
  const site = (...lines: string[]): Sent => ({
    host: SITE,
    target: '/x',
    lines: lines.map(line => `Cookie: ${line}`),
  });
  test.each(
    named([
      swapped('is swapped', site('sid=HERE'), '/x'),
      swapped('is swapped among others, which stay as they are', site('a="b c"; sid=HERE ;d=e=f;; =g'), '/x'),
      swapped('is swapped in quotes', site('a=b; sid="HERE"'), '/x'),
      swapped('is swapped in the second of three fields', site('a=b', 'c=d; sid=HERE', 'e=f'), '/x'),
      refused('is refused in another cookie', site('a=HERE'), 'stub_misplaced'),
      refused(
        'is refused in another cookie, beside another value',
        site('sid=x; a=HERE'),
        'foreign_credential',
      ),
      refused('is refused in a cookie of the name in another case', site('SID=HERE'), 'stub_misplaced'),
      refused('is refused as a name', site('HERE=sid'), 'stub_misplaced'),
      refused('is refused twice', site('sid=HERE; sid=HERE'), 'stub_misplaced'),
      refused('is refused beside another value of the name', site('sid=HERE; sid=x'), 'stub_misplaced'),
      refused(
        'is refused beside another value of the name in another field',
        site('sid=HERE', 'sid=x'),
        'stub_misplaced',
      ),
      refused('is refused behind an open quote', site('a="; sid=HERE; b="'), 'stub_misplaced'),
      refused('is refused percent-encoded', { ...site('sid=HERE'), spell: percent }, 'stub_misplaced'),
      refused(
        'is refused if it is another session’s',
        { ...site('sid=HERE'), spell: () => other },
        'stub_misplaced',
      ),
      refused(
        'is refused in Set-Cookie',
        { host: SITE, target: '/x', lines: ['Set-Cookie: sid=HERE'] },
        'stub_misplaced',
      ),
      refused('which is another account’s, is refused', site('a=b; sid=mine'), 'foreign_credential'),
      refused('twice, none of which is ours, is refused', site('sid=mine; sid=yours'), 'foreign_credential'),
    ]),
  )('%s', (_, c) => play(scene, c));

  test('is not needed', () =>
    play(scene, {
      name: '',
      host: SITE,
      send: get(SITE, '/x', ['Cookie: a=b; xsid=c']),
      ...OK_BODY,
      upstream: get(SITE, '/x', ['Cookie: a=b; xsid=c']),
      audit: { injected: [] },
    }));
});
