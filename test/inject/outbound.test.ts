import { describe, expect, it } from 'vitest';
import { Refusal } from '../../src/errors.ts';
import { fieldValues, setField } from '../../src/inject/fields.ts';
import { placements } from '../../src/inject/index.ts';
import { Outbound } from '../../src/inject/outbound.ts';
import { Secret } from '../../src/secret.ts';
import { headOf, injection, outbound, ruleOf } from './make.ts';

const bearer = placements.build('bearer', {});
const injecting = ruleOf([injection(bearer)]);

function rendered(headers: readonly string[], rule = ruleOf([])): string {
  return Outbound.from(headOf('/', headers), '/', rule).render();
}

describe('Outbound.from', () => {
  it('keeps the client’s fields in their case and order', () => {
    const headers = ['Host', 'a.example', 'x-B', '1', 'X-a', '2', 'x-b', '3'];
    expect(rendered(headers)).toBe('GET / HTTP/1.1\r\nHost: a.example\r\nx-B: 1\r\nX-a: 2\r\nx-b: 3\r\n');
  });

  it('takes the target that was judged, not the one that was sent', () => {
    const head = headOf('http://a.example/x?y', ['Host', 'a.example']);
    expect(Outbound.from(head, '/x?y', ruleOf([])).render()).toBe('GET /x?y HTTP/1.1\r\nHost: a.example\r\n');
  });

  it.each([
    'Connection',
    'Proxy-Connection',
    'Keep-Alive',
    'Proxy-Authorization',
    'Proxy-Authenticate',
    'TE',
    'Transfer-Encoding',
    'Content-Length',
    'Upgrade',
    'HTTP2-Settings',
    'pRoXy-AuThOrIzAtIoN',
  ])('drops %s', name => {
    expect(rendered(['Host', 'a', name, 'value', 'X', 'y'])).toBe('GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n');
  });

  it('leaves the head that it was made from untouched', () => {
    const head = headOf('/', ['Authorization', 'Bearer x', 'Connection', 'a', 'A', 'b']);
    const before = structuredClone(head.headers);
    bearer.inject(Outbound.from(head, '/', injecting), undefined, new Secret('github', 'sesame-open'));
    expect(head.headers).toEqual(before);
  });

  it.each([
    ['Range', 'bytes=0-0'],
    ['If-Range', '"etag"'],
    ['rAnGe', 'bytes=0-0'],
  ])('drops %s where a credential is injected', (name, value) => {
    expect(rendered([name, value], injecting)).not.toContain(value);
  });

  it('keeps Range where the rule allows it, or injects nothing', () => {
    expect(rendered(['Range', 'bytes=0-0'], ruleOf([injection(bearer)], true))).toContain('Range: bytes=0-0');
    expect(rendered(['Range', 'bytes=0-0'])).toContain('Range: bytes=0-0');
  });

  it.each([
    ['gzip, deflate, br, zstd', 'gzip, deflate, br, zstd'],
    ['gzip;q=1.0,br;q=0.5', 'gzip;q=1.0,br;q=0.5'],
    ['GZIP', 'GZIP'],
    ['gzip, deflate, br, compress', 'gzip, deflate, br'],
    ['gzip;q=0.5, dcb, dcz;q=1, br ; q=0.1', 'gzip;q=0.5, br ; q=0.1'],
    ['*', 'identity'],
    ['*;q=0.5, gzip', 'gzip'],
    ['xgzip, gzipx, x-gzip', 'identity'],
    ['', 'identity'],
    ['gzip,', 'gzip'],
    ['compress', 'identity'],
  ])('asks for no coding that the gate cannot read: %j becomes %j', (sent, kept) => {
    expect(rendered(['Accept-Encoding', sent])).toBe(`GET / HTTP/1.1\r\nAccept-Encoding: ${kept}\r\n`);
  });

  it('adds no Accept-Encoding', () => {
    expect(rendered(['Host', 'a'])).toBe('GET / HTTP/1.1\r\nHost: a\r\n');
  });
});

describe('render', () => {
  it.each(['\r\nX-Evil: 1', '\n', '\r', '\0', '\t', '\x7f', '\x1b[2J', 'é', '\u010d\u010a', '😀'])(
    'refuses a credential that holds %j, and does not show it',
    bad => {
      const out = outbound('/', ['Host', 'a']);
      setField(out, 'X-Key', new Secret('github', `sesame${bad}open`));
      try {
        out.render();
        expect.unreachable();
      } catch (thrown) {
        const refusal = thrown as Refusal;
        expect(refusal.code).toBe('credential_unavailable');
        expect(refusal.message).not.toContain('github');
        expect(String(refusal.cause)).toContain('credential "github"');
        expect(JSON.stringify(refusal) + String(refusal.stack) + String(refusal.cause)).not.toContain(
          'sesame',
        );
      }
    },
  );

  it('refuses a target with a space from a credential', () => {
    const out = outbound('/', []);
    out.target = new Secret('github', '/?key=a b');
    expect(() => out.render()).toThrow(expect.objectContaining({ code: 'credential_unavailable' }));
  });
});

describe('fields', () => {
  const headers = ['Host', 'a', 'X-Key', '1', 'x-key', '2', 'Other', '3'];

  it('finds all values of a name in any case', () => {
    expect(fieldValues(outbound('/', headers), 'x-key')).toEqual(['1', '2']);
  });

  it('sets one value where the first stood and removes the others', () => {
    const out = outbound('/', headers);
    setField(out, 'X-KEY', 'new');
    expect(out.headers).toEqual(['Host', 'a', 'X-Key', 'new', 'Other', '3']);
  });

  it('adds a field at the end', () => {
    const out = outbound('/', headers);
    setField(out, 'X-New', 'new');
    expect(out.headers).toEqual([...headers, 'X-New', 'new']);
  });
});

describe('Outbound.fields, for HTTP/2', () => {
  const fields = (headers: readonly string[], target = '/x?y') =>
    Outbound.from(headOf(target, headers), target, ruleOf([])).fields();

  it('takes Host out as the authority, and keeps the other fields in their case and order', () => {
    expect(fields(['Host', 'a.example:8443', 'x-B', '1', 'X-a', '2'])).toEqual({
      method: 'GET',
      authority: 'a.example:8443',
      path: '/x?y',
      headers: ['x-B', '1', 'X-a', '2'],
      sensitive: [],
    });
  });

  it.each([
    ['trailers', ['te', 'trailers']],
    ['Trailers', ['te', 'trailers']],
    ['gzip', []],
    ['trailers, gzip', []],
  ])('of TE: %s, passes on that trailers are welcome', (value, expected) => {
    expect(fields(['Host', 'a', 'TE', value, 'Connection', 'TE']).headers).toEqual(expected);
  });

  it('does not ask for compressed gRPC messages', () => {
    expect(fields(['Host', 'a', 'grpc-accept-encoding', 'gzip']).headers).toEqual([]);
  });

  it('names what holds a credential', () => {
    const out = Outbound.from(headOf('/', ['Host', 'a', 'X', 'y']), '/', injecting);
    bearer.inject(out, undefined, new Secret('github', 'sesame-open'));
    out.target = new Secret('github', '/bot-sesame-open');
    expect(out.fields()).toEqual({
      method: 'GET',
      authority: 'a',
      path: '/bot-sesame-open',
      headers: ['X', 'y', 'Authorization', 'Bearer sesame-open'],
      sensitive: [':path', 'Authorization'],
    });
  });

  it('refuses a credential that cannot stand in a field', () => {
    const out = Outbound.from(headOf('/', ['Host', 'a']), '/', injecting);
    bearer.inject(out, undefined, new Secret('github', 'sesame\0open'));
    expect(() => out.fields()).toThrow(Refusal);
  });
});
