import { z } from 'zod';
import type { Budget, CredentialLimits, ProfileLimits } from '../limits/budget.ts';
import { integer, oneOf, wrong } from './fields.ts';
import { parseDuration, parseSize } from './scalars.ts';

const MOST = 1_000_000_000;

const REQUESTS = '1000/h, or 500/15m, or for each session a number of requests such as 1000';
const BYTES = '100MiB/h, or for each session a size such as 1GiB';
const OF_ALL = { requests: '1000/h', bytes: '100MiB/h' };

/** `1000/h`, `20/15m`, or a number without a time, for which nothing ever comes back. */
export function parseAmount(text: string, parse: (count: string) => number | undefined): Budget | undefined {
  const [, count = '', times = '', unit] = /^([^/]+)(?:\/(\d*)(s|m|h|d))?$/.exec(text) ?? [];
  const capacity = parse(count);
  if (capacity === undefined) return undefined;
  if (unit === undefined) return { capacity, perMs: 0 };
  const ms = parseDuration(`${times || 1}${unit}`);
  return ms === undefined ? undefined : { capacity, perMs: capacity / ms };
}

function parseCount(text: string): number | undefined {
  return /^[1-9]\d{0,9}$/.test(text) && Number(text) <= MOST ? Number(text) : undefined;
}

function amount(expected: string, parse: (count: string) => number | undefined) {
  return z.union([z.number(), z.string()], wrong(expected)).transform((value, context): Budget => {
    const budget = parseAmount(String(value), parse);
    if (budget) return budget;
    context.issues.push({ code: 'custom', message: `is not valid; write ${expected}`, input: undefined });
    return z.NEVER;
  });
}

const shared = {
  requests_per_second: integer(1, 1_000_000)
    .optional()
    .describe('Requests per second; of a session or a profile also those that are denied.'),
  burst: integer(1, 1_000_000)
    .optional()
    .describe('As many at once, after a pause (default: as many as per second).'),
  requests: amount(REQUESTS, parseCount)
    .optional()
    .describe('Allowed requests: `1000/h`, or `1000` for the whole of a session.'),
  bytes_out: amount(BYTES, parseSize)
    .optional()
    .describe('What is sent to upstreams: `100MiB/h`, or `1GiB` for the whole of a session.'),
};

const OPEN_ENDED = 'needs a time, because it is shared by sessions that come and go; write';

/** `limits:` of a profile. */
export const profileLimits = z
  .strictObject({
    per: oneOf(['session', 'profile'])
      .default('session')
      .describe(
        'Whether each session has all of it, or all sessions of the profile share it (default session).',
      ),
    ...shared,
    tunnels: integer(1, 100_000).optional().describe('Tunnels that are open at a time.'),
  })
  .superRefine((of, context) => {
    for (const [key, message] of faults(of, of.per === 'profile'))
      context.addIssue({ code: 'custom', path: [key], message });
  })
  .transform(({ per, tunnels, ...of }): ProfileLimits => {
    return { per, ...budgets(of), ...(tunnels !== undefined && { tunnels }) };
  });

/** `limits:` of a credential. */
export const credentialLimits = z
  .strictObject(shared)
  .superRefine((of, context) => {
    for (const [key, message] of faults(of, true)) context.addIssue({ code: 'custom', path: [key], message });
  })
  .transform(budgets);

interface Parsed {
  readonly requests_per_second?: number | undefined;
  readonly burst?: number | undefined;
  readonly requests?: Budget | undefined;
  readonly bytes_out?: Budget | undefined;
}

function* faults(of: Parsed, isShared: boolean): Generator<readonly [string, string]> {
  if (of.burst !== undefined && of.requests_per_second === undefined)
    yield ['burst', 'goes with `requests_per_second`; write that, too'];
  if (!isShared) return;
  if (of.requests?.perMs === 0) yield ['requests', `${OPEN_ENDED} ${OF_ALL.requests}`];
  if (of.bytes_out?.perMs === 0) yield ['bytes_out', `${OPEN_ENDED} ${OF_ALL.bytes}`];
}

function budgets({
  requests_per_second: perSecond,
  burst = perSecond,
  requests,
  bytes_out: bytes,
}: Parsed): CredentialLimits {
  const rate = perSecond !== undefined && burst !== undefined && { capacity: burst, perMs: perSecond / 1000 };
  return { ...(rate && { rate }), ...(requests && { requests }), ...(bytes && { bytes }) };
}
