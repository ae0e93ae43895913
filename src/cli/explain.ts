import type { Command } from 'commander';
import { printable } from '../audit/printable.ts';
import { compileConfig } from '../config/compile.ts';
import { loadConfig } from '../config/load.ts';
import type { Compiled, Profile } from '../config/types.ts';
import type { Reason } from '../errors.ts';
import { type Dialled, dialled } from '../flow/foresee.ts';
import { parseAuthority } from '../policy/host.ts';
import { canonicalPath } from '../policy/path.ts';
import { admit, decide, type Mismatch, type RuleSpec } from '../policy/table.ts';
import type { Capture, Rule, Target } from '../types.ts';
import { findAudited } from './explain-audit.ts';
import { FAILED, UsageError } from './fail.ts';
import { configOption, requireConfig } from './find-config.ts';
import { print, printJson } from './output.ts';

interface ExplainOptions {
  config?: string;
  profile: string;
  audit?: string;
  requestId?: string;
  json?: boolean;
}

/** What would happen to one request, and why. */
export interface Explanation {
  request: string;
  profile: string;
  verdict: 'allow' | 'deny' | 'tunnel';
  reason: Reason | null;
  rule: string | null;
  /** The request is the handshake of a WebSocket. */
  websocket: boolean;
  /** In the order of the table. */
  rules: { rule: string; action: Rule['action']; matches: boolean; why: string }[];
  inject: { credential: string; as: string; at: string; when: string; required: boolean; foreign: string }[];
  /** Absent: nothing. */
  capture?: { credential: string; at: string }[];
  /** Where it would go to; null if it goes nowhere. */
  dial: Dialled | null;
}

export function explainVerb(program: Command): void {
  program
    .command('explain')
    .argument('[method]', 'or - for an audit line on stdin')
    .argument('[url]')
    .description('what would happen to a request, and why; without any network')
    .addOption(configOption())
    .option('--profile <name>', 'the rules it runs under', 'default')
    .option('--audit <file>', 'the request of a line of an audit file; - for stdin')
    .option('--request-id <id>', 'which line')
    .option('--json', 'for programs')
    .addHelpText(
      'after',
      '\nExit code: 0 allowed, 1 denied.\n\nExample:\n  stubgate explain GET https://api.github.com/user\n  stubgate explain GET wss://chat.example.com/socket\n  stubgate audit tail -n 1 --json | stubgate explain -',
    )
    .action(run);
}

async function run(
  method: string | undefined,
  url: string | undefined,
  { config, profile, audit, requestId, json }: ExplainOptions,
): Promise<void> {
  const file = audit ?? (method === '-' && url === undefined ? '-' : undefined);
  const compiled = compileConfig(loadConfig(requireConfig(config)));
  const audited = file === undefined ? undefined : await findAudited(file, requestId);
  const [asked, at] = audited ? [audited.method, audited.url] : [method, url];
  if (asked === undefined || at === undefined) {
    throw new UsageError(
      'write a method and a URL, or --audit FILE --request-id ID, or - for a line on stdin',
    );
  }
  const explanation = explain(compiled, profile, asked, at);
  if (json) printJson(audited ? { ...explanation, audited } : explanation);
  else {
    print(describe(explanation).split('\n').map(printable).join('\n'));
    for (const note of audited ? [`in the audit: ${audited.said}`, ...audited.notes] : [])
      print(printable(note));
  }
  if (explanation.verdict === 'deny') process.exitCode = FAILED;
}

/** Throws UsageError for a profile or a URL that does not exist. */
export function explain(compiled: Compiled, profileName: string, method: string, url: string): Explanation {
  const profile = compiled.profiles.get(profileName);
  if (!profile) {
    throw new UsageError(
      `there is no profile "${profileName}"; write one of ${[...compiled.profiles.keys()].join(', ')}`,
    );
  }
  const { target, ambiguous, websocket } = parseRequest(method, url);
  const judged = ambiguous ? AMBIGUOUS : outcome(profile, target);
  const dial = judged.verdict === 'deny' ? null : dialled(compiled, target);
  const { verdict, reason, rule } = dial?.check === 'forbidden' ? { ...judged, ...FORBIDDEN } : judged;
  const specs = new Map(compiled.config.rules.map(spec => [spec.name, spec]));
  const winner = profile.table.rules.find(({ name }) => name === rule);
  return {
    request: `${method} ${url}`,
    profile: profileName,
    verdict,
    reason,
    rule,
    websocket,
    rules: profile.table.rules.map(row => {
      const mismatch = row.mismatch(target);
      const spec = specs.get(row.name);
      const why = mismatch === undefined || !spec ? '' : whyNot(mismatch, spec, target);
      return { rule: row.name, action: row.action, matches: mismatch === undefined, why };
    }),
    inject: verdict === 'allow' ? injections(winner, websocket) : [],
    dial,
    ...(verdict === 'allow' && winner?.captures && { capture: winner.captures.map(captureOf) }),
  };
}

/** A handshake has no body in which anything could stand. */
function injections(rule: Rule | undefined, isHandshake: boolean): Explanation['inject'] {
  const all = rule?.injections ?? [];
  return all
    .filter(({ placement }) => !(isHandshake && placement.body))
    .map(({ credential, placement, when, required, foreign }) => ({
      credential,
      as: placement.type,
      at: placement.slot,
      when,
      required,
      foreign,
    }));
}

function captureOf({ credential, place }: Capture): { credential: string; at: string } {
  return { credential, at: place.slot };
}

type Outcome = Pick<Explanation, 'verdict' | 'reason' | 'rule'>;

const AMBIGUOUS: Outcome = { verdict: 'deny', reason: 'ambiguous_path', rule: null };

const FORBIDDEN = { verdict: 'deny', reason: 'forbidden_address' } as const;

/** As the gate asks: first at CONNECT, then for the request in it. */
function outcome({ table }: Profile, target: Target): Outcome {
  const { scheme, host, port } = target;
  const admission =
    scheme === 'https' ? admit(table, { scheme, host, port }) : { verdict: 'intercept' as const };
  const decision = admission.verdict === 'intercept' ? decide(table, target) : admission;
  const rule = decision.rule?.name ?? null;
  if (decision.verdict === 'deny') return { verdict: 'deny', reason: decision.reason, rule };
  return { verdict: decision.verdict, reason: null, rule };
}

/** Not `new URL`: it would repair what the gate refuses. */
export function parseRequest(
  method: string,
  url: string,
): { target: Target; ambiguous: boolean; websocket: boolean } {
  const [, written, authority, rest] = /^(https?|wss?):\/\/([^/?#]+)([^#]*)$/.exec(url) ?? [];
  const scheme = written === 'http' || written === 'ws' ? 'http' : 'https';
  const websocket = written === 'ws' || written === 'wss';
  const to = parseAuthority(authority ?? '', scheme === 'http' ? 80 : 443);
  if (!to)
    throw new UsageError(
      `${url}: write http:// or https:// (ws:// or wss:// for a WebSocket), a host name, a path and no fragment`,
    );
  if (!/^[A-Z][A-Z-]*$/.test(method))
    throw new UsageError(`${method}: write a method in capitals, such as GET`);
  if (websocket && method !== 'GET')
    throw new UsageError(`${method} ${url}: write GET, which is what a WebSocket begins with`);
  const origin = rest?.startsWith('/') ? rest : `/${rest ?? ''}`;
  const canonical = canonicalPath(origin);
  const path = canonical?.path ?? origin;
  return {
    target: { scheme, ...to, method, path },
    ambiguous: canonical === undefined,
    websocket,
  };
}

function whyNot(mismatch: Mismatch, rule: RuleSpec, target: Target): string {
  const [asked, allowed] = {
    host: [target.host, rule.hosts],
    scheme: [target.scheme, rule.schemes],
    port: [target.port, rule.ports ?? [target.scheme === 'https' ? 443 : 80]],
    method: [target.method, rule.methods ?? []],
    path: [target.path, rule.paths ?? []],
  }[mismatch] as [string | number, readonly (string | number)[]];
  return `${mismatch} ${asked} is not ${allowed.join(', ')}`;
}

/** Why a matching row that does not deny denies all the same. */
const OVERRULED = {
  allow: 'matches, but would inject over plain http; write insecure: true if that is meant',
  tunnel: 'matches, but a rule above it must read the request; write it further up',
};

const SHAKE =
  '  a WebSocket: this judges its handshake; each message is then searched on its way up, and scrubbed on its way down';

/** What is checked before a connection is opened. */
const CHECKED: Record<Dialled['check'], string> = {
  name: 'all its addresses must be public, or in upstream.allow_private; they are checked when they are known',
  resolve: 'as upstream.resolve says, which permits that address',
  public: 'a public address',
  allow_private: 'not a public address, but in upstream.allow_private',
  forbidden: 'an address that may not be dialled; permit it in upstream.allow_private if that is meant',
};

function describe(explanation: Explanation): string {
  const {
    request,
    profile,
    verdict,
    reason,
    rule,
    rules,
    inject,
    capture = [],
    websocket,
    dial,
  } = explanation;
  const rows = rules.map(row => {
    const mark = row.rule === rule ? '→' : row.matches ? '·' : ' ';
    const wins =
      verdict === 'deny' && row.action !== 'deny' && !dial ? OVERRULED[row.action] : `matches: ${row.action}`;
    const why = row.rule === rule ? wins : row.matches ? 'matches too late' : row.why;
    return `  ${mark} ${row.rule}: ${why}`;
  });
  const places = inject.map(
    i =>
      `  injects ${i.credential} as ${i.as} (${i.at}), ${i.when === 'stub' ? 'where its stub stands' : 'always'}` +
      `${i.required ? ', required' : ''}; another value there is ${i.foreign === 'refuse' ? 'refused' : 'passed'}`,
  );
  const taken = capture.map(
    c => `  captures ${c.credential} from the answer (${c.at}): the sandbox gets a stub`,
  );
  const because = reason ?? (rule === null ? '' : `rule ${rule}`);
  const shake = websocket && verdict === 'allow' ? [SHAKE] : [];
  const address =
    dial && `  dials ${dial.to}${dial.via ? ` through ${dial.via}` : ''}: ${CHECKED[dial.check]}`;
  const told = [
    `${request} (profile ${profile})`,
    ...rows,
    `${verdict}: ${because}`,
    ...shake,
    ...places,
    ...taken,
  ];
  return [...told, ...(address ? [address] : [])].join('\n');
}
