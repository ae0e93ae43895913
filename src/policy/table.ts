import type { Admission, CanonicalHost, Capture, Decision, Injection, Rule, Target } from '../types.ts';
import { compileGlob, type PathGlob } from './glob.ts';
import { isIpLiteral, type RuleHost } from './host.ts';
import { lenientReadings } from './path.ts';

/** A rule as the operator wrote it, validated. Lists that are there are not empty. */
export interface RuleSpec {
  readonly name: string;
  readonly action: Rule['action'];
  readonly hosts: readonly RuleHost[];
  readonly schemes: readonly Target['scheme'][];
  /** Absent: 443 for https, 80 for http. */
  readonly ports?: readonly number[];
  /** Absent: any. */
  readonly methods?: readonly string[];
  /** Globs; absent: any. */
  readonly paths?: readonly string[];
  readonly injections: readonly Injection[];
  /** Not empty if it is there. */
  readonly captures?: readonly Capture[];
  /** The injections, and what is captured, may go over plain http. */
  readonly insecure: boolean;
  readonly allowRange: boolean;
}

/** The first part of a question that keeps a row from matching. */
export type Mismatch = 'host' | 'scheme' | 'port' | 'method' | 'path';

/** A row of the table. */
export interface TableRule extends Rule {
  /** Why the row does not match; undefined if it does. */
  mismatch(target: Target): Mismatch | undefined;
}

/** A compiled rule table; immutable. A question is compared only with the rows that name its host. */
export interface Table {
  /** In the operator's order. */
  readonly rules: readonly TableRule[];
  /** @internal */
  readonly rowsFor: (host: CanonicalHost) => readonly Row[];
}

const DEFAULT_PORT = { https: 443, http: 80 } as const;
const NO_RULE = { verdict: 'deny', reason: 'no_rule' } as const;
const INTERCEPT: Admission = { verdict: 'intercept' };
const NO_ROWS: readonly Row[] = [];
/** Hosts whose rows are remembered: sandboxes choose them, so there is a bound. */
const MAX_LOOKED = 1000;

/** The table that `decide` and `admit` ask. No rules: everything is denied. */
export function compileTable(specs: readonly RuleSpec[]): Table {
  const builder = new TableBuilder();
  for (const spec of specs) builder.add(spec);
  return builder.build();
}

/** A table that is made row by row, for the length of a large one is felt by whoever waits for it. */
export class TableBuilder {
  readonly #rows: Row[] = [];
  readonly #index = new Map<RuleHost, Row[]>();

  add(spec: RuleSpec): void {
    const row = new Row(spec, this.#rows.length);
    this.#rows.push(row);
    for (const host of new Set(row.hosts)) {
      const listed = this.#index.get(host);
      if (listed) listed.push(row);
      else this.#index.set(host, [row]);
    }
  }

  build(): Table {
    return { rules: this.#rows, rowsFor: rowsByHost(this.#index) };
  }
}

/** The answer to a complete question: the first row that matches decides; a question without method or path is denied. */
export function decide(table: Table, target: Target): Decision {
  if (target.method === undefined || target.path === undefined) return NO_RULE;
  for (const row of table.rowsFor(target.host)) {
    if (row.mismatchBelowHost(target) === undefined) return row.decision(target.scheme);
  }
  return NO_RULE;
}

/**
 * The answer at CONNECT, when method and path are not known yet. A row that can only be judged by them lets the tunnel
 * be opened and read: each request in it is then decided on its own.
 */
export function admit(table: Table, target: Target): Admission {
  for (const row of table.rowsFor(target.host)) {
    if (row.mismatchBeforeRequest(target) !== undefined) continue;
    if (row.asksForRequest || row.action === 'allow') return INTERCEPT;
    return row.action === 'tunnel' ? row.tunnelled : row.denied;
  }
  return NO_RULE;
}

class Row implements TableRule {
  readonly name: string;
  readonly action: Rule['action'];
  readonly injections: readonly Injection[];
  readonly captures?: readonly Capture[];
  readonly allowRange: boolean;
  readonly hosts: readonly RuleHost[];
  /** Position in the table. */
  readonly order: number;
  /** Names a method or a path. */
  readonly asksForRequest: boolean;
  readonly allowed: Decision = { verdict: 'allow', rule: this };
  readonly denied = { verdict: 'deny', reason: 'rule_denies', rule: this } as const;
  readonly tunnelled: Admission = { verdict: 'tunnel', rule: this };
  readonly #schemes: readonly Target['scheme'][];
  readonly #ports: readonly number[] | undefined;
  readonly #methods: ReadonlySet<string> | undefined;
  readonly #globs: readonly PathGlob[] | undefined;
  readonly #insecure: boolean;

  constructor(spec: RuleSpec, order: number) {
    this.name = spec.name;
    this.action = spec.action;
    this.injections = spec.injections;
    if (spec.captures) this.captures = spec.captures;
    this.allowRange = spec.allowRange;
    this.hosts = spec.hosts;
    this.order = order;
    this.asksForRequest = spec.methods !== undefined || spec.paths !== undefined;
    this.#schemes = spec.schemes;
    this.#ports = spec.ports;
    this.#methods = spec.methods && new Set(spec.methods);
    this.#globs = spec.paths && compileGlobs(spec.paths, spec.action);
    this.#insecure = spec.insecure;
  }

  matches(target: Target): boolean {
    return this.mismatch(target) === undefined;
  }

  mismatch(target: Target): Mismatch | undefined {
    return this.hosts.some(host => covers(host, target.host)) ? this.mismatchBelowHost(target) : 'host';
  }

  mismatchBelowHost(target: Target): Mismatch | undefined {
    return this.mismatchBeforeRequest(target) ?? this.#mismatchInRequest(target);
  }

  mismatchBeforeRequest({ scheme, port }: Target): Mismatch | undefined {
    if (!this.#schemes.includes(scheme)) return 'scheme';
    return (this.#ports ? this.#ports.includes(port) : port === DEFAULT_PORT[scheme]) ? undefined : 'port';
  }

  /** What a matching row says of a request. A tunnel row lets through only what nobody read. */
  decision(scheme: Target['scheme']): Decision {
    const hasSecrets = this.injections.length > 0 || this.captures !== undefined;
    const sendsSecretInClear = scheme === 'http' && hasSecrets && !this.#insecure;
    return this.action === 'allow' && !sendsSecretInClear ? this.allowed : this.denied;
  }

  #mismatchInRequest({ method, path }: Target): Mismatch | undefined {
    if (this.#methods && (method === undefined || !this.#methods.has(method))) return 'method';
    if (this.#globs && (path === undefined || !this.#coversPath(this.#globs, path))) return 'path';
    return undefined;
  }

  /**
   * An allow row judges the path as it is sent. A deny row judges every reading that a lenient server may give it, so
   * that no other spelling slips by: `/%61dmin`, `/x//admin`, `/admin;v=1`.
   */
  #coversPath(globs: readonly PathGlob[], path: string): boolean {
    const readings = this.action === 'deny' ? lenientReadings(path) : [path];
    return readings.some(reading => globs.some(glob => glob(reading)));
  }
}

function compileGlobs(globs: readonly string[], action: Rule['action']): readonly PathGlob[] {
  // Read as leniently as the path: `/caf%C3%A9` also stops `/caf%c3%a9`.
  const spellings = action === 'deny' ? globs.flatMap(lenientReadings) : globs;
  return spellings.map(compileGlob);
}

/** Whether a host falls under a rule's host. Addresses only if written. */
function covers(rule: RuleHost, host: CanonicalHost): boolean {
  if (rule === host) return true;
  if (!rule.startsWith('*') || isIpLiteral(host)) return false;
  return rule === '*' || host.endsWith(rule.slice(1));
}

/** The rows that name a host, in order; found by look-ups, however long the table is. */
function rowsByHost(index: ReadonlyMap<RuleHost, readonly Row[]>): Table['rowsFor'] {
  const looked = new Map<CanonicalHost, readonly Row[]>();
  const rowsOf = (host: RuleHost): readonly Row[] => index.get(host) ?? NO_ROWS;
  const lookUp = (host: CanonicalHost): readonly Row[] => {
    let found = rowsOf(host);
    if (isIpLiteral(host)) return found;
    for (let dot = host.indexOf('.'); dot >= 0; dot = host.indexOf('.', dot + 1)) {
      found = merged(found, rowsOf(`*${host.slice(dot)}` as RuleHost));
    }
    return merged(found, rowsOf('*'));
  };
  return host => {
    let rows = looked.get(host);
    if (!rows) {
      if (looked.size === MAX_LOOKED) looked.clear();
      looked.set(host, (rows = lookUp(host)));
    }
    return rows;
  };
}

/** Two ordered lists of rows as one, each row once. */
function merged(a: readonly Row[], b: readonly Row[]): readonly Row[] {
  if (b.length === 0) return a;
  if (a.length === 0) return b;
  const rows: Row[] = [];
  let [i, j] = [0, 0];
  for (;;) {
    const [x, y] = [a[i], b[j]];
    const row = !y || (x && x.order <= y.order) ? x : y;
    if (!row) return rows;
    rows.push(row);
    if (row === x) i++;
    if (row === y) j++;
  }
}
