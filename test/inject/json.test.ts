import { describe, expect, it } from 'vitest';
import * as fc from 'fast-check';
import { bytesOf } from '../../src/inject/body.ts';
import { placements } from '../../src/inject/index.ts';
import { locate } from '../../src/inject/json-text.ts';
import { Secret } from '../../src/secret.ts';
import { BodyFault } from '../../src/types.ts';
import { outbound, outboundBody } from './make.ts';

const STUB = 'ghp_stub';
const SECRET = new Secret('oauth', 's3cret"\\/\n\u0007é😀', '7');
const WIRE = 's3cret\\"\\\\/\\n\\u0007é😀';

const build = (pointer: string) => placements.build('json', { pointer });
const find = (pointer: string, text: string | Buffer) =>
  build(pointer).find(outboundBody('json', Buffer.from(text)));

/** The body that goes out. */
function sent(pointer: string, text: string, stub: string | undefined = STUB): string {
  const out = outboundBody('json', Buffer.from(text));
  const placed = build(pointer).inject(out, stub, SECRET);
  expect(placed.at).toBe(`json ${pointer}`);
  expect(placed.wire.reveal()).toBe(WIRE);
  if (!out.body) throw new Error('the body is gone');
  return bytesOf(out.body).toString();
}

describe('a stub in a JSON body', () => {
  it.each([
    ['/s', '{"s":"ghp_stub"}', `{"s":"${WIRE}"}`],
    [
      '/s',
      ' {\t"a" : [1, {"s":"x"}],\r\n"s" : "ghp_stub" , "b":"ghp_stub"}\n',
      ` {\t"a" : [1, {"s":"x"}],\r\n"s" : "${WIRE}" , "b":"ghp_stub"}\n`,
    ],
    ['/s', '{"s":"\\u0067hp_stub"}', `{"s":"${WIRE}"}`],
    ['/s', '{"\\u0073":"\\u0067\\u0068\\u0070\\u005Fstub"}', `{"\\u0073":"${WIRE}"}`],
    [
      '/a/b/c',
      '{"a":{"c":1,"b":{"x":{"c":2},"c":"ghp_stub"}},"c":3}',
      `{"a":{"c":1,"b":{"x":{"c":2},"c":"${WIRE}"}},"c":3}`,
    ],
    ['/a/1/0', '{"a":[["ghp_stub"],["ghp_stub",0],[]]}', `{"a":[["ghp_stub"],["${WIRE}",0],[]]}`],
    ['/0', '["ghp_stub"]', `["${WIRE}"]`],
    ['/0', '{"0":"ghp_stub"}', `{"0":"${WIRE}"}`],
    ['/a~1b/~0c/', '{"a/b":{"~c":{"":"ghp_stub"}}}', `{"a/b":{"~c":{"":"${WIRE}"}}}`],
    ['/ä', '{"ä":"ghp_stub","é":"\\ud800 ü"}', `{"ä":"${WIRE}","é":"\\ud800 ü"}`],
    // Twice elsewhere is nobody's concern.
    ['/s', '{"a":{"x":1,"x":2},"s":"ghp_stub"}', `{"a":{"x":1,"x":2},"s":"${WIRE}"}`],
    [
      '/s',
      '{"n":-0.5e+10,"t":true,"f":false,"z":null,"s":"ghp_stub"}',
      `{"n":-0.5e+10,"t":true,"f":false,"z":null,"s":"${WIRE}"}`,
    ],
  ])('is swapped at %s in %s, and nothing else', (pointer, text, result) => {
    expect(find(pointer, text)).toEqual([STUB]);
    expect(sent(pointer, text)).toBe(result);
  });

  it('is swapped beside another', () => {
    const out = outboundBody('json', '{"a":"one","b":"two"}');
    build('/b').inject(out, 'two', new Secret('b', 'second-secret'));
    build('/a').inject(out, 'one', new Secret('a', 'first-secret'));
    expect(out.body && bytesOf(out.body).toString()).toBe('{"a":"first-secret","b":"second-secret"}');
  });
});

describe('what stands at the place', () => {
  it.each([
    ['/s', '{"s":"foreign"}', ['foreign']],
    ['/s', '{"s":""}', ['']],
    ['/s', '{"s":"\\ud83d\\ude00"}', ['😀']],
    ['/s', '{"s":null}', [' null']],
    ['/s', '{"s":17}', [' 17']],
    ['/s', '{"s":["ghp_stub"]}', [' ["ghp_stub"]']],
    ['/s', '{"s":{"s":"ghp_stub"}}', [' {"s":"ghp_stub"}']],
    ['/s', '{"a":"ghp_stub"}', []],
    ['/s', '{}', []],
    ['/a/s', '{"a":{}}', []],
    ['/s', '"ghp_stub"', undefined],
    ['/s', '["ghp_stub"]', undefined],
    ['/a/s', '{"s":"ghp_stub"}', undefined],
    ['/a/s', '{"a":"ghp_stub"}', undefined],
    ['/a/b/s', '{"a":{}}', undefined],
    ['/1', '["ghp_stub"]', undefined],
    ['/00', '["ghp_stub"]', undefined],
    ['/-', '["ghp_stub"]', undefined],
    ['/a', '{"b":{"a":"ghp_stub"}}', []],
  ])('of %s in %s', (pointer, text, texts) => {
    expect(find(pointer, text)).toEqual(texts);
  });

  it('is nothing in a form, or without a body', () => {
    expect(build('/s').find(outboundBody('form', '{"s":"ghp_stub"}'))).toBeUndefined();
    expect(build('/s').find(outbound('/', []))).toBeUndefined();
  });
});

describe('a value that is set without a stub', () => {
  it.each([
    ['/s', '{}', `{"s":"${WIRE}"}`],
    ['/s', ' { } ', ` {"s":"${WIRE}" } `],
    ['/s', '{"a":[1] }', `{"a":[1],"s":"${WIRE}" }`],
    ['/a/~1"', '{"a":{"b":{}},"c":1}', `{"a":{"b":{},"/\\"":"${WIRE}"},"c":1}`],
    ['/s', '{"s":{"t":[1]},"x":2}', `{"s":"${WIRE}","x":2}`],
    ['/s', '{"s":null}', `{"s":"${WIRE}"}`],
    ['/0', '[1,2]', `["${WIRE}",2]`],
  ])('at %s in %s', (pointer, text, result) => {
    expect(sent(pointer, text, undefined)).toBe(result);
  });
});

describe('a body that parsers may read in different ways', () => {
  it.each([
    ['/s', '{"s":"ghp_stub","s":"x"}', 'twice'],
    ['/s', '{"s":"x","a":1,"\\u0073":"ghp_stub"}', 'twice'],
    ['/a/s', '{"a":{"s":"x"},"a":{}}', 'twice'],
    ['/s', '{"s":"ghp_stub","S":"x"}', 'some servers take for "s"'],
    ['/s', '{"S":"ghp_stub"}', 'some servers take for "s"'],
    ['/s', '{"ſ":"x"}', 'some servers take for "s"'],
    ['/key', '{"\u212aey":"x"}', 'some servers take for "key"'],
    ['/s', '{"s\\u0000x":"ghp_stub"}', 'some servers take for "s"'],
    ['/s', `${'['.repeat(129)}${']'.repeat(129)}`, 'deeper than 128'],
  ])('is refused: %s in %s', (pointer, text, message) => {
    expect(() => find(pointer, text)).toThrow(BodyFault);
    expect(() => find(pointer, text)).toThrow(message);
  });

  it.each([
    '',
    ' ',
    '{',
    '{"s"}',
    '{"s":}',
    '{"s":"ghp_stub"',
    '{"s":"ghp_stub",}',
    '{"s":"ghp_stub"}}',
    '{"s":"ghp_stub"}{}',
    "{'s':'ghp_stub'}",
    '{s:"ghp_stub"}',
    '{"s":"ghp_stub"}//',
    '/**/{"s":"ghp_stub"}',
    '{"s":"ghp\nstub"}',
    '{"s":"ghp\\x5fstub"}',
    '{"s":"\\u12g4"}',
    '{"s":"\\u12"}',
    '{"s":"\\',
    '[1,]',
    '[,1]',
    '[1 2]',
    '[01]',
    '[+1]',
    '[.5]',
    '[1.]',
    '[1e]',
    '[NaN]',
    '[True]',
    '[nul]',
    '["a""b"]',
    '{"a":1 "b":2}',
    '{"a":1,,"b":2}',
    '{1:2}',
    '\f{}',
    '\u00a0{}',
    '{}\0',
  ])('is refused: %j is not JSON', text => {
    expect(() => find('/s', text)).toThrow('is not JSON');
    expect(() => JSON.parse(text) as unknown).toThrow();
  });
});

describe('the scanner', () => {
  it('accepts what JSON.parse accepts, and nothing else', () => {
    const pieces = [
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"',
      '"a"',
      '"\\u0061"',
      '\\',
      '1',
      '-',
      '0',
      '.',
      'e',
      'true',
      'null',
      ' ',
      '\n',
      'é',
      '\x01',
    ];
    const text = fc.oneof(
      fc.array(fc.constantFrom(...pieces), { maxLength: 12 }).map(parts => parts.join('')),
      fc.json().chain(json => fc.nat(json.length).map(at => json.slice(0, at) + json.slice(at + 1))),
      fc.json({ maxDepth: 6 }),
    );
    fc.assert(
      fc.property(text, source => {
        let isJson = true;
        try {
          JSON.parse(source);
        } catch {
          isJson = false;
        }
        let isRead = true;
        try {
          locate(Buffer.from(source), ['no such name']);
        } catch {
          isRead = false;
        }
        expect(isRead, source).toBe(isJson);
      }),
      { numRuns: 2000 },
    );
  });

  it('finds every value of a document at its pointer', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), fc.nat(4), (value, indent) => {
        const text = Buffer.from(JSON.stringify(value, null, indent));
        const visit = (node: unknown, tokens: string[]): void => {
          if (typeof node !== 'object' || node === null) return;
          const folded = Object.keys(node).map(name => name.toUpperCase().toLowerCase().split('\0')[0]);
          for (const [name, child] of Object.entries(node)) {
            const path = [...tokens, name];
            if (
              folded.filter(one => one === name.toUpperCase().toLowerCase()).length > 1 ||
              name.includes('\0')
            )
              continue;
            const place = locate(text, path);
            expect(JSON.parse(text.toString('utf8', place?.start, place?.end))).toEqual(
              JSON.parse(JSON.stringify(child)),
            );
            visit(child, path);
          }
        };
        visit(value, []);
      }),
      { numRuns: 300 },
    );
  });
});

it.each(['', 's', '/~', '/~2', '/a~', '$.s', '#/s', '/a\n', `/${'a'.repeat(300)}`])(
  'refuses the pointer %j',
  pointer => {
    expect(() => build(pointer)).toThrow();
  },
);

it.each(['0B', '17MiB', '1GiB', '1', 'much', ''])('refuses max_body %j', max_body => {
  expect(() => placements.build('json', { pointer: '/s', max_body })).toThrow('1B to 16MiB');
});

it('takes 1 MiB where nothing else is said', () => {
  expect(build('/s').body).toEqual({ kind: 'json', limit: 1024 * 1024 });
  expect(placements.build('form', { field: 's', max_body: '2KiB' }).body).toEqual({
    kind: 'form',
    limit: 2048,
  });
});
