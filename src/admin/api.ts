import { type Context, Hono } from 'hono';
import { z } from 'zod';
import type { Steered } from '../app/gate.ts';
import type { Metrics } from '../audit/metrics.ts';
import { parseDuration } from '../config/scalars.ts';
import { Refusal } from '../errors.ts';
import { SessionError } from '../state/session.ts';
import type { Log, Session } from '../types.ts';
import type { TrustFiles } from './environment.ts';
import { streamEvents } from './events.ts';
import { refuseBrowsers, requireToken } from './guard.ts';
import { refuse } from './refuse.ts';
import { sessionAnswer } from './wiring.ts';

export interface AdminRooms {
  readonly gate: Steered;
  readonly trust: TrustFiles;
  readonly token: string;
  /** Host that the listener is configured with; undefined for a Unix socket. */
  readonly host: string | undefined;
  readonly log: Log;
  readonly state: { draining: boolean };
}

const UNTOLD =
  'Redis does not answer: if this gate knows the session, it has ended here, and the other gates are told as soon as Redis does';
const BODY_LIMIT = 64 * 1024;

/** What POST /v1/sessions takes; the session's own checks bound the texts. */
const NewSession = z.strictObject({
  profile: z.string().default('default'),
  ttl: z
    .string()
    .transform((value, issues) => {
      const ms = parseDuration(value);
      if (ms === undefined) issues.addIssue('is no duration; write "30m" or "1h"');
      return ms ?? z.NEVER;
    })
    .optional(),
  sub: z.string().optional(),
  act: z.string().optional(),
  labels: z.record(z.string(), z.string()).optional(),
  subject_token: z.string().optional(),
});

/** The control plane (contract, section 5). */
export function adminApi(rooms: AdminRooms): Hono {
  const { gate, log } = rooms;
  const api = new Hono();
  api.use(refuseBrowsers(rooms.host));
  api.get('/healthz', c => c.json({ ok: true }));
  api.get('/readyz', c => ready(c, rooms));
  api.use(requireToken(rooms.token));
  api.get('/metrics', c => metrics(c, gate));
  api.post('/v1/sessions', c => createSession(c, rooms));
  api.get('/v1/sessions', async c => {
    const [sessions, { metrics }] = await Promise.all([gate.sessions.list(), gate.measure()]);
    return c.json({ sessions: sessions.map(session => describe(session, metrics)) });
  });
  api.all('/v1/sessions', c => notAllowed(c, 'GET, POST'));
  api.get('/v1/sessions/:id', c => answerSession(c, gate, c.req.param('id')));
  api.delete('/v1/sessions/:id', async c => {
    // Before anything is asked: it ends here even if the other gates cannot be told yet.
    await gate.sessions.revoke(c.req.param('id'));
    return answerSession(c, gate, c.req.param('id'));
  });
  api.all('/v1/sessions/:id', c => notAllowed(c, 'GET, DELETE'));
  api.get('/v1/events', c => streamEvents(c, gate.events));
  api.all('/v1/events', c => notAllowed(c, 'GET'));
  api.notFound(c => refuse(c, 'not_found'));
  api.onError((error, c) => {
    if (error instanceof Refusal && error.code === 'state_unavailable') {
      log.warn(error.message, { path: c.req.path, cause: error.cause });
      return refuse(c, 'state_unavailable', c.req.method === 'DELETE' ? UNTOLD : undefined);
    }
    log.error('the control plane failed', { path: c.req.path, cause: error });
    return refuse(c, 'internal_error');
  });
  return api;
}

async function createSession(c: Context, { gate, trust }: AdminRooms): Promise<Response> {
  if (!/^application\/json *(;|$)/i.test(c.req.header('content-type') ?? '')) return refuse(c, 'not_json');
  const length = c.req.header('content-length');
  if (length === undefined) return refuse(c, 'length_required');
  if (Number(length) > BODY_LIMIT) return refuse(c, 'body_too_large');
  const body: unknown = await c.req.json().catch(() => undefined);
  const wanted = NewSession.safeParse(body);
  if (!wanted.success) return refuse(c, 'invalid_request', explain(wanted.error));
  const { profile, ttl, sub, act, labels, subject_token: subjectToken } = wanted.data;
  const { profiles } = gate.config;
  if (!profiles.has(profile)) {
    return refuse(
      c,
      'invalid_request',
      `profile: there is none of that name; write one of ${[...profiles.keys()].join(', ')}`,
    );
  }
  try {
    const { session, token } = await gate.createSession({
      profile,
      ...(ttl !== undefined && { ttlMs: ttl }),
      ...(sub !== undefined && { sub }),
      ...(act !== undefined && { act }),
      ...(labels !== undefined && { labels }),
      ...(subjectToken !== undefined && { subjectToken }),
    });
    return c.json(sessionAnswer(gate, trust, session, token), 201);
  } catch (error) {
    if (!(error instanceof SessionError)) throw error;
    return refuse(c, error.kind === 'full' ? 'too_many_sessions' : 'invalid_request', error.message);
  }
}

/** Every problem with its key. */
function explain(error: z.ZodError): string {
  return error.issues.map(issue => [...issue.path, issue.message].join(': ')).join('; ');
}

async function answerSession(c: Context, gate: Steered, id: string): Promise<Response> {
  const session = await gate.sessions.get(id);
  if (!session) return refuse(c, 'not_found', 'There is no such session');
  return c.json(describe(session, (await gate.measure()).metrics));
}

/** What others may know about a session: neither its token nor its stubs. */
function describe(session: Session, metrics: Metrics) {
  const time = (ms: number) => new Date(ms).toISOString();
  return {
    id: session.session,
    state: stateOf(session),
    profile: session.profile,
    sub: session.sub ?? null,
    act: session.act ?? null,
    labels: session.labels,
    created_at: time(session.createdAt),
    expires_at: time(session.expiresAt),
    revoked_at: session.revokedAt === undefined ? null : time(session.revokedAt),
    usage: metrics.usage(session.session),
  };
}

function stateOf(session: Session): 'live' | 'revoked' | 'expired' {
  if (session.revokedAt !== undefined) return 'revoked';
  return session.expiresAt <= Date.now() ? 'expired' : 'live';
}

async function ready(c: Context, { gate, state }: AdminRooms): Promise<Response> {
  // The configuration and the CA are there, and the listeners up, before this one answers.
  const { auditHealthy, stateUp } = (await gate.measure()).gauges;
  const checks = { audit: auditHealthy, state: stateUp, serving: !state.draining };
  const ok = Object.values(checks).every(Boolean);
  return c.json({ ok, checks }, ok ? 200 : 503);
}

async function metrics(c: Context, gate: Steered): Promise<Response> {
  const measured = await gate.measure();
  const text = measured.metrics.text(measured.gauges);
  return c.body(text, 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' });
}

function notAllowed(c: Context, allow: string): Response {
  c.header('allow', allow);
  return refuse(c, 'method_not_allowed');
}
