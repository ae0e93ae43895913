import { describe, expect, it } from 'vitest';
import { placements } from '../../src/inject/index.ts';
import { Outbound } from '../../src/inject/outbound.ts';
import { parseShape } from '../../src/inject/shape.ts';
import { apply, type Plan, plan } from '../../src/inject/swap.ts';
import { Secret } from '../../src/secret.ts';
import type { Injection, Rule, Session } from '../../src/types.ts';
import { base64, headOf, injection, keyOf, percent, ruleOf, sessionOf } from './make.ts';

const key = keyOf('this gate');
const shape = parseShape('github-pat');
const mine = key.mint(shape);
const second = key.mint(shape);
/** Another session's, or this one's after it was revoked: the gate keeps no table of them. */
const strange = key.mint(shape);
const session = sessionOf({ github: mine, gitlab: second });

const bearer = placements.build('bearer', {});
const basic = placements.build('basic', {});
const named = placements.build('basic', { username: 'x-access-token' });
const apiKey = placements.build('header', { name: 'x-api-key' });
const prefixed = placements.build('header', { name: 'x-token', prefix: 'v1:' });
const query = placements.build('query', { name: 'key' });

const SECRETS: Record<string, Secret> = {
  github: new Secret('github', 'the-github-secret', '7'),
  gitlab: new Secret('gitlab', 'the-gitlab-secret'),
};

interface Outcome {
  readonly plan: Plan;
  readonly text: string;
  readonly swaps: ReturnType<typeof apply>;
}

/** The whole way of a head through the room, as the flow takes it; throws the refusal's code. */
function send(rule: Rule, target: string, headers: readonly string[], who: Session = session): Outcome {
  const head = headOf(target, headers);
  const out = Outbound.from(head, target, rule);
  let planned: Plan;
  try {
    planned = plan(out, rule, who, key);
  } catch (thrown) {
    throw new Error((thrown as { code: string }).code, { cause: thrown });
  }
  if (key.count(head.bytes.toString('latin1')) !== planned.swapped) throw new Error('stub_misplaced');
  const swaps = apply(out, planned, name => SECRETS[name] as Secret);
  return { plan: planned, text: out.render(), swaps };
}

const byBearer = ruleOf([injection(bearer)]);

describe('a stub at its place', () => {
  it.each([
    ['bearer', bearer, '/', ['Authorization', `Bearer ${mine}`], 'Authorization: Bearer the-github-secret'],
    ['token', bearer, '/', ['Authorization', `token ${mine}`], 'Authorization: token the-github-secret'],
    [
      'password',
      basic,
      '/',
      ['Authorization', `Basic ${base64(`u:${mine}`)}`],
      base64('u:the-github-secret'),
    ],
    ['user', basic, '/', ['Authorization', `Basic ${base64(`${mine}:`)}`], base64('the-github-secret:')],
    [
      'named',
      named,
      '/',
      ['Authorization', `Basic ${base64(`u:${mine}`)}`],
      base64('x-access-token:the-github-secret'),
    ],
    ['header', apiKey, '/', ['X-Api-Key', mine], 'X-Api-Key: the-github-secret'],
    ['query', query, `/?key=${mine}`, [], '/?key=the-github-secret'],
    ['query, percent', query, `/?a=b&key=${percent(mine)}`, [], '/?a=b&key=the-github-secret'],
  ] as const)('is swapped: %s', (_, placement, target, headers, wanted) => {
    const { text, swaps, plan: planned } = send(ruleOf([injection(placement)]), target, headers);
    expect(text).toContain(wanted);
    expect(key.count(text)).toBe(0);
    expect(planned).toMatchObject({ steps: [{ stub: mine }], swapped: 1 });
    expect(swaps).toEqual([
      {
        credential: 'github',
        placement: placement.type,
        at: placement.slot,
        version: '7',
        wire: expect.any(Secret),
      },
    ]);
  });

  it('is swapped for any user name length, so at any base64 alignment', () => {
    for (let length = 0; length < 9; length++) {
      const value = `Basic ${base64(`${'u'.repeat(length)}:${mine}`)}`;
      expect(send(ruleOf([injection(basic)]), '/', ['Authorization', value]).plan.swapped).toBe(1);
    }
  });

  it('is swapped together with another at another place', () => {
    const rule = ruleOf([injection(bearer), injection(query, { credential: 'gitlab' })]);
    const { text, swaps } = send(rule, `/?key=${second}`, ['Authorization', `Bearer ${mine}`]);
    expect(text).toBe('GET /?key=the-gitlab-secret HTTP/1.1\r\nAuthorization: Bearer the-github-secret\r\n');
    expect(swaps.map(swap => [swap.credential, swap.version])).toEqual([
      ['github', '7'],
      ['gitlab', null],
    ]);
  });

  it('chooses the credential among those that may stand at one place', () => {
    const rule = ruleOf([injection(bearer), injection(bearer, { credential: 'gitlab' }), injection(basic)]);
    expect(send(rule, '/', ['Authorization', `Bearer ${second}`]).text).toContain('Bearer the-gitlab-secret');
    expect(send(rule, '/', ['Authorization', `Basic ${base64(`u:${mine}`)}`]).text).toContain(
      base64('u:the-github-secret'),
    );
  });

  it('is asked for no secret before the plan is carried out', () => {
    const out = Outbound.from(headOf('/', ['Authorization', `Bearer ${mine}`]), '/', byBearer);
    plan(out, byBearer, session, key);
    expect(out.render()).toContain(mine);
  });

  it('takes the place of a foreign value beside it', () => {
    const { text } = send(byBearer, '/', [
      'Authorization',
      'Bearer foreign',
      'authorization',
      `Bearer ${mine}`,
    ]);
    expect(text).toBe('GET / HTTP/1.1\r\nAuthorization: Bearer the-github-secret\r\n');
  });
});

describe('nothing at the place', () => {
  it('leaves the request as it is', () => {
    const { text, plan: planned } = send(byBearer, '/', ['Host', 'a']);
    expect(text).toBe('GET / HTTP/1.1\r\nHost: a\r\n');
    expect(planned).toEqual({ steps: [], swapped: 0 });
  });

  it('is refused where the stub is required', () => {
    expect(() => send(ruleOf([injection(bearer, { required: true })]), '/', [])).toThrow('stub_missing');
  });

  it('is refused where one of two is required and the other stands there', () => {
    const rule = ruleOf([injection(bearer, { required: true }), injection(bearer, { credential: 'gitlab' })]);
    expect(() => send(rule, '/', ['Authorization', `Bearer ${second}`])).toThrow('stub_missing');
  });

  it('is filled in where the rule says always', () => {
    const { text, plan: planned } = send(ruleOf([injection(bearer, { when: 'always' })]), '/', []);
    expect(text).toContain('Authorization: Bearer the-github-secret');
    expect(planned.swapped).toBe(0);
  });

  it('is filled in for a session that holds no stub', () => {
    const rule = ruleOf([injection(query, { when: 'always' })]);
    expect(send(rule, '/', [], sessionOf({})).text).toContain('/?key=the-github-secret');
  });
});

describe('a foreign value at the place', () => {
  const FOREIGN: readonly (readonly [string, string, string])[] = [
    ['another account’s token', 'Authorization', 'Bearer ghp_000000000000000000000000000000000000'],
    ['Basic', 'authorization', `Basic ${base64('me:mine')}`],
    ['Digest', 'Authorization', 'Digest username="me"'],
    ['nothing readable', 'Authorization', 'Bearer'],
    ['an empty value', 'Authorization', ''],
    ['the stub in lower case', 'Authorization', `Bearer ${mine.toLowerCase()}`],
    ['the stub cut inside its tag', 'Authorization', `Bearer ${mine.slice(0, 20)}`],
    ['another gate’s stub', 'Authorization', `Bearer ${keyOf('another gate').mint(shape)}`],
  ];

  it.each(FOREIGN)('is refused: %s', (_, name, value) => {
    expect(() => send(byBearer, '/', [name, value])).toThrow('foreign_credential');
  });

  it.each(FOREIGN)('passes where the rule lets it: %s', (_, name, value) => {
    const rule = ruleOf([injection(bearer, { foreign: 'pass' })]);
    expect(send(rule, '/', [name, value]).text).toBe(`GET / HTTP/1.1\r\n${name}: ${value}\r\n`);
  });

  it.each(FOREIGN)('is overwritten where the rule says always: %s', (_, name, value) => {
    const rule = ruleOf([injection(bearer, { when: 'always' })]);
    expect(send(rule, '/', [name, value]).text).toBe(
      `GET / HTTP/1.1\r\n${name}: Bearer the-github-secret\r\n`,
    );
  });

  it('is refused if one of the injections at that place does not let it pass', () => {
    const rule = ruleOf([injection(bearer, { foreign: 'pass' }), injection(basic, { credential: 'gitlab' })]);
    expect(() => send(rule, '/', ['Authorization', 'Bearer foreign'])).toThrow('foreign_credential');
  });

  it('does not stand for a required stub, even if it may pass', () => {
    const rule = ruleOf([injection(bearer, { foreign: 'pass', required: true })]);
    expect(() => send(rule, '/', ['Authorization', 'Bearer foreign'])).toThrow('stub_missing');
  });

  it('is refused in a query, however the key is spelled', () => {
    const rule = ruleOf([injection(query)]);
    expect(() => send(rule, '/?k%65y=foreign', [])).toThrow('foreign_credential');
    expect(() => send(rule, '/?x&key', [])).toThrow('foreign_credential');
  });
});

describe('a stub where it does not belong', () => {
  const SPELLINGS: readonly (readonly [string, (stub: string) => string])[] = [
    ['plain', stub => stub],
    ['cut after its tag', stub => stub.slice(0, 30)],
    ['with more behind it', stub => `${stub}x`],
    ['in base64', base64],
    ['in base64 behind one byte', stub => base64(`:${stub}`)],
    ['in base64 behind two bytes', stub => base64(`u:${stub}`)],
    ['percent-encoded', stub => percent(stub)],
    ['percent-encoded twice', stub => percent(stub, 2)],
    ['base64 under percent', stub => percent(base64(stub))],
  ];
  const PLACES: readonly (readonly [string, (text: string) => [string, string[]]])[] = [
    ['the path', text => [`/a/${text}`, []]],
    ['a query value', text => [`/?q=${text}`, []]],
    ['a query key', text => [`/?${text}=1`, []]],
    ['the query that is no placement', text => [`/?Key=${text}`, []]],
    ['Host', text => ['/', ['Host', `${text}.evil.example`]]],
    ['Cookie', text => ['/', ['Cookie', `a=b; s=${text}; c=d`]]],
    ['User-Agent', text => ['/', ['User-Agent', `curl/8 (${text})`]]],
    ['Referer', text => ['/', ['Referer', `https://a.example/?t=${text}`]]],
    ['X-Request-Id', text => ['/', ['X-Request-Id', text]]],
    ['Access-Control-Request-Headers', text => ['/', ['Access-Control-Request-Headers', `x,${text}`]]],
    ['Sec-WebSocket-Protocol', text => ['/', ['Sec-WebSocket-Protocol', text]]],
    ['a header name', text => ['/', [`X-${text}`, '1']]],
    ['Connection', text => ['/', ['Connection', text]]],
    ['a header that is dropped', text => ['/', ['Keep-Alive', text]]],
    ['Proxy-Authorization', text => ['/', ['Proxy-Authorization', `Basic ${text}`]]],
    ['X-Authorization', text => ['/', ['X-Authorization', `Bearer ${text}`]]],
  ];

  describe.each(PLACES)('in %s', (_, put) => {
    it.each(SPELLINGS)(
      'is refused, %s: alone, beside the stub at its place, or under a rule without injections',
      (_, spell) => {
        for (const stub of [mine, second, strange]) {
          const [target, headers] = put(spell(stub));
          const withStub = [...headers, 'Authorization', `Bearer ${mine}`];
          expect(() => send(byBearer, target, headers)).toThrow('stub_misplaced');
          expect(() => send(byBearer, target, withStub)).toThrow('stub_misplaced');
          expect(() => send(ruleOf([]), target, headers)).toThrow('stub_misplaced');
          const all: Partial<Injection> = { when: 'always', foreign: 'pass' };
          expect(() => send(ruleOf([injection(bearer, all)]), target, headers)).toThrow('stub_misplaced');
        }
      },
    );
  });

  it.each(SPELLINGS)(
    'is refused at the place itself, %s, if it is not the session’s stub for it',
    (_, spell) => {
      for (const options of [
        {},
        { when: 'always' },
        { foreign: 'pass' },
        { required: true },
      ] satisfies Partial<Injection>[]) {
        const rule = ruleOf([injection(bearer, options)]);
        for (const stub of [second, strange]) {
          expect(() => send(rule, '/', ['Authorization', `Bearer ${spell(stub)}`])).toThrow('stub_misplaced');
        }
        // Its own stub must stand there in plain.
        if (spell(mine) !== mine) {
          expect(() => send(rule, '/', ['Authorization', `Bearer ${spell(mine)}`])).toThrow('stub_misplaced');
        }
      }
    },
  );

  it.each([
    [
      'twice in Authorization',
      bearer,
      '/',
      ['Authorization', `Bearer ${mine}`, 'authorization', `Bearer ${mine}`],
    ],
    ['in both halves of Basic', basic, '/', ['Authorization', `Basic ${base64(`${mine}:${mine}`)}`]],
    [
      'in both halves of Basic under a fixed user name',
      named,
      '/',
      ['Authorization', `Basic ${base64(`${mine}:${mine}`)}`],
    ],
    [
      'in the user name behind something',
      basic,
      '/',
      ['Authorization', `Basic ${base64(`a${second}:${mine}`)}`],
    ],
    ['twice in the password', basic, '/', ['Authorization', `Basic ${base64(`u:${mine}${mine}`)}`]],
    ['twice in the query', query, `/?key=${mine}&key=${mine}`, []],
    ['twice in the query, one encoded', query, `/?key=${percent(mine)}&k%65y=${mine}`, []],
    ['twice in the query, one encoded twice', query, `/?key=${mine}&key=${percent(mine, 2)}`, []],
    ['as Bearer where Basic is meant', basic, '/', ['Authorization', `Bearer ${mine}`]],
    ['as Basic where Bearer is meant', bearer, '/', ['Authorization', `Basic ${base64(`u:${mine}`)}`]],
    [
      'in Basic without padding',
      basic,
      '/',
      ['Authorization', `Basic ${base64(`uu:${mine}`).replace(/=+$/, '')}`],
    ],
    ['in Digest', bearer, '/', ['Authorization', `Digest username="${mine}"`]],
    ['as the scheme', bearer, '/', ['Authorization', mine]],
    ['where a prefix is missing', prefixed, '/', ['X-Token', mine]],
    ['without a scheme where Basic is meant', basic, '/', ['Authorization', mine]],
    ['as the scheme before a token', bearer, '/', ['Authorization', `${mine} x`]],
    ['beside itself behind a %', query, `/?key=${percent(mine)}&%${mine}`, []],
    ['beside itself behind %2', query, `/?key=${percent(mine)}&%2${mine}`, []],
    ['beside itself in base64 behind a %', query, `/?key=${percent(mine)}&%${base64(`x${mine}`)}`, []],
  ] as const)('is refused %s', (_, placement, target, headers) => {
    expect(() => send(ruleOf([injection(placement)]), target, headers)).toThrow('stub_misplaced');
  });

  it('is refused where another credential’s is meant, both standing in each other’s place', () => {
    const rule = ruleOf([injection(bearer), injection(apiKey, { credential: 'gitlab' })]);
    const crossed = ['Authorization', `Bearer ${second}`, 'X-Api-Key', mine];
    expect(() => send(rule, '/', crossed)).toThrow('stub_misplaced');
  });

  it('is refused among more forged stubs than are verified', () => {
    const forged = `${key.marker}-`.repeat(70);
    expect(() => send(byBearer, '/', ['X', forged, 'Authorization', `Bearer ${mine}`])).toThrow(
      'stub_misplaced',
    );
  });
});
