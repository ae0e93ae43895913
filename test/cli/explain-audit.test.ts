import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { toLine } from '../../src/audit/line.ts';
import type { AuditEvent } from '../../src/types.ts';
import { auditEvent } from '../audit/event.ts';
import { policyFolder } from './policy.ts';
import { quickly } from './stubgate.ts';

const at = { scheme: 'https', host: 'api.example.test', port: 443, method: 'GET', path: '/v1/x' } as const;
const denied = { verdict: 'deny', reason: 'no_rule', rule: null } as const;

function explained(events: Partial<AuditEvent>[], ...args: string[]) {
  const cwd = policyFolder({});
  const lines = events.map(event => `${toLine(auditEvent(event), '0'.repeat(64))}\n`);
  writeFileSync(join(cwd, 'audit.jsonl'), lines.join(''));
  return quickly(cwd, 'explain', '--audit', 'audit.jsonl', ...args);
}

describe('explain --audit', () => {
  it('explains the request of one line, and tells what the gate said', async () => {
    const events = [
      { ...at, ...denied, request_id: 'one' },
      { ...at, request_id: 'two', host: 'elsewhere.test', ...denied },
    ];
    const { code, stdout } = await explained(events, '--request-id', 'one');
    expect(stdout).toMatch(/^GET https:\/\/api\.example\.test:443\/v1\/x \(profile default\)\n/);
    expect(stdout).toMatch(/\n {2}→ api: matches: allow\n/);
    expect(stdout).toMatch(/\n {2}dials api\.example\.test:443: all its addresses must be public/);
    expect(stdout).toMatch(/\nin the audit: deny no_rule\n$/);
    expect(code).toBe(0);
  });

  it.each<[string, Partial<AuditEvent>, RegExp]>([
    [
      'a CONNECT',
      { method: 'CONNECT', path: null },
      /GET https:\/\/api\.example\.test:443\/ .*it is a CONNECT, explained as a GET in it\n$/s,
    ],
    ['a path that is withheld', { path: '/v1/[stub]' }, /the audit does not hold the whole path/],
    [
      'an address',
      { host: '10.0.0.1', path: '/' },
      /→ inner: matches: allow\n.*deny: forbidden_address\n.*dials 10\.0\.0\.1:443: an address that may not be dialled/s,
    ],
    ['an IPv6 address', { host: '::1', path: '/' }, /GET https:\/\/\[::1\]:443\/ /],
  ])('explains %s', async (_, event, says) => {
    const { stdout } = await explained([{ ...at, ...event }]);
    expect(stdout).toMatch(says);
  });

  it.each<[string, Partial<AuditEvent>[], string[], RegExp]>([
    [
      'no line has the id',
      [{ ...at, request_id: 'one' }],
      ['--request-id', 'two'],
      /audit\.jsonl has no line with request_id two/,
    ],
    ['there are several lines', [at, at], [], /audit\.jsonl has 2 lines; tell which one with --request-id/],
    ['there is none', [], [], /audit\.jsonl has no line/],
    ['a line names no host', [{ ...at, host: null }], [], /this line tells of no host/],
  ])('refuses when %s', async (_, events, args, says) => {
    const { code, stderr } = await explained(events, ...args);
    expect([code, stderr]).toEqual([2, expect.stringMatching(says)]);
  });

  it('refuses what is no audit line', async () => {
    const cwd = policyFolder({ 'x.jsonl': 'hello\n' });
    const { code, stderr } = await quickly(cwd, 'explain', '--audit', 'x.jsonl');
    expect([code, stderr]).toEqual([2, expect.stringMatching(/this is not an audit line/)]);
  });
});

it('explain wants a request', async () => {
  const { code, stderr } = await quickly(policyFolder({}), 'explain', 'GET');
  expect([code, stderr]).toEqual([2, expect.stringMatching(/write a method and a URL, or --audit FILE/)]);
});
