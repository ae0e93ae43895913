import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { AuditEvent } from '../../src/types.ts';

export function auditEvent(changes: Partial<AuditEvent> = {}): AuditEvent {
  return {
    time: '2026-01-02T03:04:05.678Z',
    request_id: 'r-1',
    session: 's-1',
    sub: 'alice',
    act: 'agent-7',
    labels: { repo: 'acme/app' },
    rule: 'github-api',
    verdict: 'allow',
    reason: null,
    scheme: 'https',
    host: 'api.github.test',
    port: 443,
    method: 'GET',
    path: '/user',
    status: 200,
    injected: [{ credential: 'github', placement: 'header authorization', version: 'v3' }],
    scrubbed: 0,
    stubs_seen: 1,
    bytes_in: 312,
    bytes_out: 5312,
    duration_ms: 12.3,
    ttfb_ms: 11.2,
    trace_id: null,
    ...changes,
  };
}

/** A folder that is gone after the test. */
export function tempFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'stubgate-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
