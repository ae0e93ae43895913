import { describe, expect, it } from 'vitest';
import { createLog, errorText, type Level } from '../../src/cli/log.ts';
import { Secret } from '../../src/secret.ts';
import type { Log } from '../../src/types.ts';

function logged(isTTY: boolean, least: Level, write: (log: Log) => void): string {
  let text = '';
  const stream = { isTTY, write: (chunk: string) => (text += chunk) } as unknown as NodeJS.WriteStream;
  write(createLog(stream, least));
  return text;
}

const secret = new Secret('github', 'ghp_real');

describe('for a program', () => {
  it('is a line of JSON', () => {
    const text = logged(false, 'info', log => log.warn('a\nb', { port: 1, secret, nested: { secret } }));
    expect(text.indexOf('\n')).toBe(text.length - 1);
    expect(JSON.parse(text)).toEqual({
      time: expect.stringMatching(/^\d{4}-.*Z$/),
      level: 'warn',
      message: 'a\nb',
      port: 1,
      secret: '[secret github]',
      nested: { secret: '[secret github]' },
    });
  });
});

describe('for a terminal', () => {
  it('is text that cannot move the cursor', () => {
    const text = logged(true, 'info', log => log.info('x\x1b[2Jy', { path: '/\r\n\u202e', n: 1 }));
    expect(text).toContain('x\\u{1b}[2Jy');
    expect(text).toContain('/\\u{d}\\u{a}\\u{202e}');
    expect(text).toContain('info ');
  });

  it('shows a secret as its name', () => {
    expect(logged(true, 'info', log => log.info('x', { secret }))).toContain('[secret github]');
  });
});

it.each([true, false])('leaves out what is below its level (terminal: %s)', isTTY => {
  const text = logged(isTTY, 'warn', log => {
    log.debug('one');
    log.info('two');
    log.warn('three');
    log.error('four');
  });
  expect(text).toMatch(/three[^]*four/);
  expect(text).not.toMatch(/one|two/);
});

describe('an error', () => {
  const cause = new Error('the library says ghp_real');
  const error = Object.assign(new Error('cannot fetch', { cause }), { code: 'EFAIL' });

  it.each([true, false])('is its message and code, without stack and cause (terminal: %s)', isTTY => {
    const text = logged(isTTY, 'info', log => log.error('x', { cause: error }));
    expect(text).toContain('cannot fetch (EFAIL)');
    expect(text).not.toContain('ghp_real');
    expect(text).not.toContain('at ');
  });

  it('does not name its code twice', () => {
    expect(errorText(Object.assign(new Error('ENOENT: no such file'), { code: 'ENOENT' }))).toBe(
      'ENOENT: no such file',
    );
  });
});
