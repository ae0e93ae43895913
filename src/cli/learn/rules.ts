import type { SeenRequest } from './request.ts';
import { globsOf } from './paths.ts';

/** A rule of a configuration, by its keys. */
export type RawRule = Readonly<Record<string, unknown>>;

export interface LearnedRule {
  readonly rule: RawRule & { readonly name: string };
  readonly requests: number;
  /** For the reader, each without a line break. */
  readonly notes: readonly string[];
}

export interface Learned {
  readonly requests: number;
  readonly rules: readonly LearnedRule[];
  /** Requests that no rule can let through, or that one forbids. */
  readonly notes: readonly string[];
}

/** Refusals that a further rule mends. */
const MENDED: ReadonlySet<string> = new Set(['no_rule', 'stub_misplaced', 'foreign_credential']);
/** What fails behind a rule that has let a request pass. */
const BEHIND: ReadonlySet<string> = new Set([
  'credential_unavailable',
  'dns_failure',
  'undecodable_response',
  'upstream_malformed',
  'upstream_timeout',
  'upstream_tls',
  'upstream_unreachable',
]);

/**
 * The narrowest rules that the requests needed. `existing`: the rules that decided them, in their order; what they inject
 * stays. `open`: the rule by which requests passed that no other one allowed.
 */
export function learn(
  requests: readonly SeenRequest[],
  existing: readonly RawRule[],
  open?: string,
): Learned {
  const rules = new Map(existing.map(rule => [String(rule['name']), rule]));
  const needed = requests.filter(request => request.method !== 'CONNECT' && isNeeded(request));
  const groups = grouped(needed, request => {
    const owner = ownerOf(request, rules, open);
    return JSON.stringify([owner ?? null, request.scheme, request.host, request.port]);
  });
  const order = [...rules.keys()];
  const named = [...groups].map(([key, members]) => ({ owner: ownerIn(key), members }));
  const at = ({ owner }: { owner: string | undefined }) =>
    owner === undefined ? order.length : order.indexOf(owner);
  const names = new Set<string>();
  const learned = named
    .toSorted((a, b) => at(a) - at(b))
    .flatMap(({ owner, members }) =>
      rulesFor(members, owner === undefined ? undefined : rules.get(owner), names, open),
    );
  const tunnels = tunnelsIn(requests, rules, names);
  return { requests: requests.length, rules: [...learned, ...tunnels], notes: leftOut(requests, needed) };
}

function isNeeded(request: SeenRequest): boolean {
  return request.path !== undefined && (isPassed(request) || MENDED.has(request.reason ?? ''));
}

/** Some rule has let it pass, whatever came of it. */
function isPassed({ verdict, reason }: SeenRequest): boolean {
  return verdict === 'allow' || BEHIND.has(reason ?? '');
}

function ownerOf(request: SeenRequest, rules: ReadonlyMap<string, RawRule>, open?: string) {
  const { rule } = request;
  return isPassed(request) && rule !== null && rule !== open && rules.has(rule) ? rule : undefined;
}

const ownerIn = (key: string): string | undefined => (JSON.parse(key) as [string | null])[0] ?? undefined;

/** Of one origin, and one rule that decided: a rule for each set of methods. */
function rulesFor(
  members: readonly SeenRequest[],
  owner: RawRule | undefined,
  names: Set<string>,
  open: string | undefined,
): LearnedRule[] {
  const [first] = members;
  if (!first) return [];
  const globs = globsOf(members.map(({ path }) => path ?? ''));
  const byGlob = grouped(members, ({ path }) => globs.get(path ?? '') ?? '/');
  const methodsOf = (of: readonly SeenRequest[]) => [...new Set(of.map(({ method }) => method))].toSorted();
  const bySet = grouped([...byGlob], ([, of]) => methodsOf(of).join());
  return [...bySet.values()].map(entries => {
    const of = entries.flatMap(([, one]) => one);
    const name = freshName(typeof owner?.['name'] === 'string' ? owner['name'] : nameFor(first.host), names);
    return {
      rule: {
        name,
        hosts: [first.host],
        ...(first.port !== (first.scheme === 'https' ? 443 : 80) && { ports: [first.port] }),
        ...(first.scheme === 'http' && { schemes: ['http'] }),
        methods: methodsOf(of),
        paths: entries.map(([glob]) => glob).toSorted(),
        ...kept(owner),
      },
      requests: of.length,
      notes: notesOn(of, owner, open),
    };
  });
}

/** All of a rule that does not say which requests fall under it. */
function kept(owner: RawRule = {}): RawRule {
  const asked = new Set(['name', 'action', 'hosts', 'ports', 'schemes', 'methods', 'paths']);
  return Object.fromEntries(Object.entries(owner).filter(([key]) => !asked.has(key)));
}

function notesOn(of: readonly SeenRequest[], owner: RawRule | undefined, open: string | undefined): string[] {
  const clients = [...new Set(of.flatMap(({ client }) => client ?? []))].toSorted();
  const passed = of.filter(isPassed).length;
  const failed = tally(of.filter(isPassed).flatMap(({ reason }) => reason ?? []));
  const refused = of.length - passed;
  const unauthorized = of.filter(({ status, verdict }) => verdict === 'allow' && status === 401).length;
  const injected = tally(of.flatMap(one => one.injected.map(i => `${i.credential} (${i.placement})`)));
  return [
    [
      counted(of.length),
      ...(clients.length > 0 ? [`by ${clients.join(', ')}`] : []),
      ...(refused > 0 ? [`${refused === of.length ? 'all' : refused} refused in this run`] : []),
      ...(passed > 0 && owner === undefined && open !== undefined ? ['let through to learn'] : []),
    ].join(', '),
    ...(owner === undefined
      ? injected.map(([what, n]) => `the gate injected ${what} ${times(n)}: add it to inject`)
      : []),
    ...failed.map(([reason, n]) => `failed ${times(n)} (${reason})`),
    ...credentialNotes(of, owner),
    ...(unauthorized > 0
      ? [
          `answered 401 ${times(unauthorized)}: the upstream wants a credential, and which one is yours to say`,
        ]
      : []),
  ];
}

function credentialNotes(of: readonly SeenRequest[], owner: RawRule | undefined): string[] {
  if (owner?.['inject'] !== undefined) return [];
  const seen = of.flatMap(({ credentials }) => credentials);
  const foreign = tally(seen.filter(({ credential }) => credential === undefined).map(({ at }) => at));
  const stubs = tally(
    seen.flatMap(({ at, credential }) =>
      credential === undefined ? [] : `${at} held the stub of ${credential}`,
    ),
  );
  return [
    ...stubs.map(
      ([what, n]) => `${what} ${times(n)}: inject it there, if this host may have that credential`,
    ),
    ...foreign.map(
      ([at, n]) =>
        `${at} held a value that is no stub ${times(n)}: a stub is missing; put that credential into a vault, and inject it there`,
    ),
  ];
}

/** Hosts whose bytes passed unread, by the rules that let them. */
function tunnelsIn(
  requests: readonly SeenRequest[],
  rules: ReadonlyMap<string, RawRule>,
  names: Set<string>,
): LearnedRule[] {
  const tunnels = requests.filter(({ verdict }) => verdict === 'tunnel');
  return [...grouped(tunnels, ({ host, port }) => `${host}:${port}`).values()].flatMap(of => {
    const [first] = of;
    if (!first) return [];
    const name = freshName(
      first.rule !== null && rules.has(first.rule) ? first.rule : nameFor(first.host),
      names,
    );
    const ports = first.port === 443 ? {} : { ports: [first.port] };
    const rule = { name, hosts: [first.host], ...ports, action: 'tunnel' };
    return [
      {
        rule,
        requests: of.length,
        notes: [`${of.length} ${of.length === 1 ? 'tunnel' : 'tunnels'}, passed unread`],
      },
    ];
  });
}

/** What no rule was made of, and why. */
function leftOut(requests: readonly SeenRequest[], needed: readonly SeenRequest[]): string[] {
  const used = new Set(needed);
  const others = requests.filter(request => !used.has(request) && request.verdict !== 'tunnel');
  const lines = others.map(({ scheme, host, port, method, reason, verdict, path }) => {
    const origin = `${scheme}://${host}${port === (scheme === 'https' ? 443 : 80) ? '' : `:${port}`}`;
    if (method === 'CONNECT')
      return `${host}:${port}: only connected to (${reason ?? verdict}); what was wanted there is not known`;
    if (path === undefined) return `${method} ${origin}: its path is not known (${reason ?? verdict})`;
    return `${method} ${origin}: refused (${reason ?? 'for no reason that is known'}), which no further rule mends`;
  });
  return tally(lines).map(([line, n]) => (n === 1 ? line : `${line} (${n} times)`));
}

const nameFor = (host: string): string => {
  const name = host
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '')
    .slice(0, 56);
  return /^[a-z]/.test(name) ? name : `at-${name}`;
};

function freshName(wanted: string, names: Set<string>): string {
  let name = wanted;
  for (let n = 2; names.has(name); n++) name = `${wanted.slice(0, 60 - String(n).length)}-${n}`;
  names.add(name);
  return name;
}

function grouped<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return groups;
}

function tally(texts: readonly string[]): [string, number][] {
  return [...grouped(texts, text => text)].map(([text, all]) => [text, all.length]);
}

const counted = (n: number): string => `${n} ${n === 1 ? 'request' : 'requests'}`;
const times = (n: number): string => (n === 1 ? 'once' : `${n} times`);
