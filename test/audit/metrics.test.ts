import { expect, it } from 'vitest';
import { Metrics } from '../../src/audit/metrics.ts';
import { auditEvent } from './event.ts';

const gauges = { tunnels: 0, sessions: 2, stateUp: true, auditHealthy: true, auditLost: 0 };

it('counts requests by verdict and reason', () => {
  const metrics = new Metrics();
  metrics.observe(auditEvent());
  metrics.observe(auditEvent({ verdict: 'deny', reason: 'no_rule' }));
  metrics.observe(auditEvent({ verdict: 'deny', reason: 'no_rule' }));
  const text = metrics.text(gauges);
  expect(text).toContain('stubgate_requests_total{verdict="allow",reason=""} 1\n');
  expect(text).toContain('stubgate_requests_total{verdict="deny",reason="no_rule"} 2\n');
});

it('counts the time to the last byte in cumulative buckets', () => {
  const metrics = new Metrics();
  for (const duration_ms of [1, 5, 6, 40_000]) metrics.observe(auditEvent({ duration_ms }));
  const text = metrics.text(gauges);
  expect(text).toContain('stubgate_request_duration_seconds_bucket{le="0.005"} 2\n');
  expect(text).toContain('stubgate_request_duration_seconds_bucket{le="0.01"} 3\n');
  expect(text).toContain('stubgate_request_duration_seconds_bucket{le="30"} 3\n');
  expect(text).toContain('stubgate_request_duration_seconds_bucket{le="+Inf"} 4\n');
  expect(text).toContain('stubgate_request_duration_seconds_count 4\n');
});

it('tells what a session did', () => {
  const metrics = new Metrics();
  metrics.observe(auditEvent({ session: 'a', scrubbed: 3 }));
  metrics.observe(auditEvent({ session: 'a', verdict: 'deny', injected: [] }));
  metrics.observe(auditEvent({ session: 'b' }));
  expect(metrics.usage('a')).toEqual({ allowed: 1, denied: 1, injected: 1, scrubbed: 3 });
  expect(metrics.usage('unknown')).toEqual({ allowed: 0, denied: 0, injected: 0, scrubbed: 0 });
});

it('forgets the oldest of too many sessions', () => {
  const metrics = new Metrics();
  for (let i = 0; i <= 10_000; i++) metrics.observe(auditEvent({ session: `s${i}` }));
  expect(metrics.usage('s0').allowed).toBe(0);
  expect(metrics.usage('s1').allowed).toBe(1);
});

it('tells of vaults, tunnels, sessions and the audit’s health', () => {
  const metrics = new Metrics();
  metrics.fetched('aws', true);
  metrics.fetched('aws', false);
  const text = metrics.text({ tunnels: 7, sessions: 2, stateUp: true, auditHealthy: false, auditLost: 5 });
  expect(text).toContain('stubgate_vault_fetches_total{vault="aws",result="done"} 1\n');
  expect(text).toContain('stubgate_vault_fetches_total{vault="aws",result="failed"} 1\n');
  expect(text).toContain('stubgate_tunnels_open 7\n');
  expect(text).toContain('stubgate_sessions 2\n');
  expect(text).toContain('stubgate_audit_healthy 0\n');
  expect(text).toContain('stubgate_audit_lost_total 5\n');
});

it('declares each family once, before its samples', () => {
  const metrics = new Metrics();
  metrics.observe(auditEvent());
  const lines = metrics.text(gauges).split('\n').slice(0, -1);
  let family = '';
  for (const line of lines) {
    if (line.startsWith('# HELP ')) family = line.split(' ')[2] ?? '';
    else expect(line.replace(/^# TYPE /, '').startsWith(family)).toBe(true);
  }
  expect(new Set(lines.filter(l => l.startsWith('# TYPE'))).size).toBe(
    lines.filter(l => l.startsWith('# TYPE')).length,
  );
});

it('adds up what several processes counted, whatever one of them has not seen', () => {
  const [one, other, all] = [new Metrics(), new Metrics(), new Metrics(86_400_000)];
  const together = new Metrics(86_400_000);
  const events = [
    auditEvent({ session: 'a', duration_ms: 3, scrubbed: 2 }),
    auditEvent({ session: 'a', verdict: 'deny', reason: 'no_rule', injected: [], duration_ms: 700 }),
    auditEvent({ session: 'b', verdict: 'deny', reason: 'rule_denies', bytes_in: 9 }),
  ];
  for (const [i, event] of events.entries()) {
    (i === 0 ? one : other).observe(event);
    together.observe(event);
  }
  for (const metrics of [one, together]) metrics.fetched('env', true);
  for (const metrics of [other, together]) {
    metrics.fetched('env', false);
    metrics.limited('session.requests');
    metrics.alarmed('stub_misplaced');
    metrics.delivered('failed');
  }
  for (const metrics of [one, other]) all.add(structuredClone(metrics.counts()));
  expect(all.text(gauges)).toBe(together.text(gauges));
  expect(all.usage('a')).toEqual(together.usage('a'));
  // What was added is not what goes on counting.
  const again = new Metrics(86_400_000);
  again.add(all.counts());
  again.add(one.counts());
  expect(all.text(gauges)).toBe(together.text(gauges));
});
