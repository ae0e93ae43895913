import { describe, expect, it } from 'vitest';
import { Answer } from '../../src/proof/answer.ts';

/** The places of an answer, read in pieces of so many bytes. */
function placesOf(text: string, { method = 'GET', step = text.length } = {}): Record<string, string> {
  const answer = new Answer(method);
  for (let at = 0; at < text.length; at += step)
    answer.read(Buffer.from(text.slice(at, at + step), 'latin1'));
  return Object.fromEntries(
    [...answer.seen().places].map(([place, bytes]) => [place, bytes.toString('latin1')]),
  );
}

const CHUNKED =
  'HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n' +
  '3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-T: t\r\n\r\nmore';

describe('an answer', () => {
  it.each([1, 2, 3, 7, CHUNKED.length])('has every byte in a named place, read %i at a time', step => {
    expect(placesOf(CHUNKED, { step })).toEqual({
      'interim answer': 'HTTP/1.1 103 Early Hints\r\nlink: a',
      'status line': 'HTTP/1.1 200 Fine',
      headers: 'Transfer-Encoding: chunked\r\nX-A: b',
      'chunk lines': '3;x=y',
      trailers: 'X-T: t',
      'bytes behind the answer': 'more',
      body: 'abcde',
    });
  });

  it.each<[string, string, string, boolean, boolean]>([
    ['of a known length', 'GET', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab', true, true],
    [
      'that closes',
      'GET',
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab',
      true,
      false,
    ],
    ['that is short', 'GET', 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab', false, false],
    ['with more behind it', 'GET', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab', true, false],
    ['until the end', 'GET', 'HTTP/1.1 200 OK\r\n\r\nab', false, false],
    ['to HEAD', 'HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n', true, true],
    ['304', 'GET', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n', true, true],
    [
      'chunked, bare',
      'GET',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n',
      true,
      true,
    ],
    [
      'in bad chunks',
      'GET',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\na\r\n0\r\n\r\n',
      false,
      false,
    ],
  ])('%s: tells whether it is whole, and keeps its connection', (_, method, text, isWhole, keeps) => {
    const answer = new Answer(method);
    expect(answer.read(Buffer.from(text))).toBe(isWhole);
    expect(answer.keepsConnection).toBe(keeps);
  });

  it('keeps what it cannot read', () => {
    expect(placesOf('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nsecret')['body']).toBe(
      'zz\r\nsecret',
    );
    expect(placesOf('no head at all')['bytes behind the answer']).toBe('no head at all');
  });

  it('is decoded as a client would, from the last coding to the first', () => {
    const text = 'HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 2\r\n\r\nab';
    expect(placesOf(text)['decoded body']).toBe('ab');
  });
});
