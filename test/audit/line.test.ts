import * as fc from 'fast-check';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { toLine } from '../../src/audit/line.ts';
import type { AuditEvent } from '../../src/types.ts';
import { auditEvent } from './event.ts';

const PREV = '0'.repeat(64);

/** Few values, so that a line often has what the one before it had; some that JSON must escape. */
const texts = fc.constantFrom(null, 'a', '/x?y', '"', '\\', 'é\u2028', '\u0000', '[31m', 'x'.repeat(3000));
const labels = [{}, { run: '7' }, { 'a"b': 'é' }];
const micros = fc.integer({ min: 0, max: 5_000_000 }).map(us => us / 1000);
const injected = fc.array(
  fc.record({
    credential: fc.constantFrom('api', 'git"hub'),
    placement: fc.constant('header authorization'),
    version: texts,
  }),
  { maxLength: 2 },
);
const events = fc.record({
  session: texts,
  sub: texts,
  act: texts,
  labels: fc.constantFrom(...labels),
  rule: texts,
  verdict: fc.constantFrom('allow', 'deny', 'tunnel'),
  reason: fc.constantFrom(null, 'no_rule', 'stub_misplaced'),
  scheme: fc.constantFrom(null, 'http', 'https'),
  host: texts,
  port: fc.constantFrom(null, 443, 8443),
  method: texts,
  path: texts,
  status: fc.constantFrom(0, 200, 403),
  injected,
  scrubbed: fc.nat(2),
  stubs_seen: fc.nat(2),
  bytes_in: fc.nat(),
  bytes_out: fc.nat(),
  duration_ms: micros,
  ttfb_ms: fc.option(micros),
  trace_id: texts,
}) as fc.Arbitrary<Partial<AuditEvent>>;

const cut = (value: unknown): unknown =>
  typeof value === 'string' && value.length > 2048 ? `${value.slice(0, 2048)}…` : value;

/** What a line says, written apart from `src/audit`. */
function said(event: AuditEvent): Record<string, unknown> {
  return {
    ...Object.fromEntries(Object.entries(event).map(([key, value]) => [key, cut(value)])),
    injected: event.injected.map(one => ({ ...one, version: cut(one.version) })),
    prev: PREV,
  };
}

test('a line says what its event says, whatever the lines before it said', () => {
  fc.assert(
    fc.property(fc.array(events, { minLength: 1, maxLength: 8 }), parts => {
      for (const part of parts) {
        const event = auditEvent(part);
        const line = toLine(event, PREV);
        expect(JSON.parse(line)).toEqual(said(event));
        expect(Object.keys(JSON.parse(line) as object)).toEqual([...Object.keys(event), 'prev']);
        expect(line).toMatch(/^[\x20-\x7e]*$/);
      }
    }),
    { numRuns: 500 },
  );
});

test.each([
  [0, '0'],
  [0.001, '0.001'],
  [0.9996, '1'],
  [1.5, '1.500'],
  [1000, '1000'],
  [86_400_000.25, '86400000.250'],
])('%d ms are written as %s', (duration, text) => {
  expect(toLine(auditEvent({ duration_ms: duration }), PREV)).toContain(`"duration_ms":${text},`);
});

const one = { credential: 'api', placement: 'header authorization', version: null };
test.each<[string, Partial<AuditEvent>]>([
  ['session', { session: 's-2' }],
  ['sub', { sub: 'bob' }],
  ['act', { act: 'agent-8' }],
  ['rule', { rule: 'other' }],
  ['verdict', { verdict: 'deny' }],
  ['reason', { reason: 'no_rule' }],
  ['scheme', { scheme: 'http' }],
  ['host', { host: 'b.test' }],
  ['port', { port: 8443 }],
  ['method', { method: 'POST' }],
  ['path', { path: '/other' }],
  ['status', { status: 201 }],
  ['injected', { injected: [] }],
  ['the injected credential', { injected: [{ ...one, credential: 'git' }] }],
  ['the placement', { injected: [{ ...one, placement: 'query key' }] }],
  ['the version', { injected: [{ ...one, version: '2' }] }],
  ['scrubbed', { scrubbed: 7 }],
  ['stubs_seen', { stubs_seen: 7 }],
  ['time', { time: '2026-01-02T03:04:05.679Z' }],
])('a line that differs from the one before it in %s only says so', (_, changes) => {
  const first = auditEvent({ injected: [one], labels: { run: '9' } });
  const second = { ...first, ...changes };
  toLine(first, PREV);
  expect(JSON.parse(toLine(second, PREV))).toEqual(said(second));
});

test('each of many sessions has its own line, however many asked in between', () => {
  const events = Array.from({ length: 1200 }, (_, n) =>
    auditEvent({ session: `s_${n}`, path: `/${n}`, labels: { run: `${n}` } }),
  );
  for (const round of [events, events.toReversed(), events])
    for (const event of round) expect(JSON.parse(toLine(event, PREV))).toEqual(said(event));
});

test('of a session that asked long ago nothing is kept, though it is remembered', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const labels = { run: 'remembered' };
  const event = new WeakRef(auditEvent({ labels }));
  toLine(event.deref() as AuditEvent, PREV);
  for (let n = 0; n < 1000; n++) toLine(auditEvent({ labels: { run: `${n}` } }), PREV);
  // What was looked at through a WeakRef lives until its turn is over.
  await new Promise(setImmediate);
  collect();
  expect([labels.run, event.deref()]).toEqual(['remembered', undefined]);
});
