import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import type { Compiled, Profile } from '../config/types.ts';
import { type Reason, Refusal } from '../errors.ts';
import { Outbound } from '../inject/outbound.ts';
import { parseShape } from '../inject/shape.ts';
import { StubKey } from '../inject/stub.ts';
import { plan } from '../inject/swap.ts';
import { classify, mayDial } from '../policy/address.ts';
import { isIpLiteral } from '../policy/host.ts';
import { admit, decide } from '../policy/table.ts';
import type { Injection, RequestHead, Rule, Session, Target, VaultError } from '../types.ts';
import { parseRequestHead } from '../wire/head.ts';
import { WIRE_LIMITS } from '../wire/limits.ts';
import { authorityOf, requestTarget } from './target.ts';

/** A request that nobody sends. */
export interface Imagined {
  readonly target: Target;
  /** The path can be read in more than one way. */
  readonly ambiguous: boolean;
  /** With its query; `{stub:NAME}` stands for the session's stub for credential NAME. */
  readonly originForm: string;
  /** The same in values. Absent: it has whatever the rule wants. */
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Foreseen {
  readonly verdict: 'allow' | 'deny' | 'tunnel';
  readonly reason: Reason | null;
  readonly rule: string | null;
  /** With headers what is injected, without what may be. */
  readonly inject: readonly Injection[];
  /** Null if nothing is dialled. */
  readonly dial: Dialled | null;
}

/** Where a request goes to. */
export interface Dialled {
  /** `host:port`, or the operator's `address:port`. */
  readonly to: string;
  /** `name`: its addresses are checked when they are known; otherwise the operator's word, or what was found. */
  readonly check: 'name' | 'resolve' | 'public' | 'allow_private' | 'forbidden';
  /** The parent proxy that dials it. */
  readonly via?: string;
}

/** On whose behalf a request is imagined. */
export interface Who {
  readonly profile: string;
  readonly sub?: string | undefined;
  readonly act?: string | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

/** What would happen to a request, without any network, vault or session. */
export class Foresight {
  readonly #compiled: Compiled;
  readonly #key = new StubKey(randomBytes(32));
  readonly #stubs: ReadonlyMap<string, string>;

  constructor(compiled: Compiled) {
    this.#compiled = compiled;
    const stubs = [...compiled.credentials].map(
      ([name, { stub }]) => [name, this.#key.mint(parseShape(stub.shape))] as const,
    );
    this.#stubs = new Map(stubs);
  }

  /** Undefined for a profile that does not exist. */
  ask(who: Who, request: Imagined): Foreseen | undefined {
    const profile = this.#compiled.profiles.get(who.profile);
    if (!profile) return undefined;
    let rule: Rule | undefined;
    try {
      const session = this.#session(who, profile);
      const head = this.#head(request, session);
      rule = this.#decided(profile, request, head, session);
      if (rule.action === 'tunnel') return this.#passed('tunnel', rule, [], request);
      const inject = head ? this.#swapped(rule, head, session) : rule.injections;
      for (const { credential } of inject) this.#requireLabels(credential, session);
      return this.#passed('allow', rule, inject, request);
    } catch (thrown) {
      if (!(thrown instanceof Denied) && !(thrown instanceof Refusal)) throw thrown;
      const by = thrown instanceof Denied ? thrown.rule : rule;
      return { verdict: 'deny', reason: thrown.code, rule: by?.name ?? null, inject: [], dial: null };
    }
  }

  #passed(
    verdict: 'allow' | 'tunnel',
    rule: Rule,
    inject: readonly Injection[],
    { target }: Imagined,
  ): Foreseen {
    const dial = dialled(this.#compiled, target);
    if (dial.check !== 'forbidden') return { verdict, reason: null, rule: rule.name, inject, dial };
    return { verdict: 'deny', reason: 'forbidden_address', rule: rule.name, inject: [], dial };
  }

  /** As the gate asks: first at CONNECT, then for the request in it. */
  #decided(
    { table }: Profile,
    { target, ambiguous }: Imagined,
    head: RequestHead | undefined,
    session: Session,
  ): Rule {
    const { scheme, host, port } = target;
    const stubs = head ? this.#key.count(head.text) : 0;
    const admission = scheme === 'https' ? admit(table, { scheme, host, port }) : undefined;
    if (admission?.verdict === 'tunnel') return admission.rule;
    const asked = ambiguous ? 'ambiguous_path' : head ? askedIn(head, session, target) : target;
    const decision = typeof asked === 'string' ? undefined : decide(table, asked);
    if (decision?.verdict === 'allow') return decision.rule;
    if (head && stubs > 0 && !this.#belong(table.rowsFor(host), target, head, session, stubs)) {
      throw new Denied('stub_misplaced', decision?.rule);
    }
    throw new Denied(decision?.reason ?? (asked as Reason), decision?.rule);
  }

  /** Whether the stubs of a denied request stand where some rule for its origin wants them. */
  #belong(
    rows: readonly (Rule & { mismatchBeforeRequest(target: Target): unknown })[],
    target: Target,
    head: RequestHead,
    session: Session,
    stubs: number,
  ): boolean {
    return rows.some(row => {
      if (row.mismatchBeforeRequest(target) !== undefined) return false;
      try {
        return plan(Outbound.from(head, head.target, row), row, session, this.#key).swapped === stubs;
      } catch {
        return false;
      }
    });
  }

  /** What is injected in the head, and what may be in the body, which nobody has imagined. */
  #swapped(rule: Rule, head: RequestHead, session: Session): readonly Injection[] {
    const { steps, swapped } = plan(Outbound.from(head, head.target, rule), rule, session, this.#key);
    if (this.#key.count(head.text) !== swapped) throw new Refusal('stub_misplaced');
    const inBody = rule.injections.filter(({ placement }) => placement.body !== undefined);
    return [...steps.map(({ injection }) => injection), ...inBody];
  }

  #requireLabels(credential: string, session: Session): void {
    try {
      this.#compiled.mints.get(credential)?.minter.scope(session);
    } catch (thrown) {
      throw new Refusal('credential_unavailable', { cause: thrown as VaultError });
    }
  }

  #head({ target, originForm, headers }: Imagined, session: Session): RequestHead | undefined {
    if (headers === undefined && !originForm.includes('{stub:')) return undefined;
    const fields = Object.entries(headers ?? {}).map(
      ([name, value]) => `${name}: ${this.#filled(value, session)}\r\n`,
    );
    const host = Object.keys(headers ?? {}).some(name => name.toLowerCase() === 'host');
    const line = `${target.method} ${this.#filled(originForm, session)} HTTP/1.1\r\n`;
    const text = `${line}${host ? '' : `Host: ${authorityOf(target)}\r\n`}${fields.join('')}\r\n`;
    return parseRequestHead(Buffer.from(text, 'latin1'), WIRE_LIMITS, false);
  }

  #filled(text: string, { stubs }: Session): string {
    return text.replace(/\{stub:([^{}]+)\}/g, (whole, name: string) => stubs.get(name) ?? whole);
  }

  #session({ profile: name, sub, act, labels = {} }: Who, { credentials }: Profile): Session {
    return {
      session: 's_imagined',
      profile: name,
      ...(sub !== undefined && { sub }),
      ...(act !== undefined && { act }),
      labels,
      createdAt: 0,
      expiresAt: Number.MAX_SAFE_INTEGER,
      tokenHash: '',
      stubs: new Map(credentials.map(credential => [credential, this.#stubs.get(credential) ?? ''])),
    };
  }
}

/** What a head asks for at an origin, or why it may not. */
function askedIn(head: RequestHead, session: Session, { scheme, host, port }: Target): Target | Reason {
  try {
    return requestTarget(head, { session, scheme, host, port }, head.target);
  } catch (thrown) {
    if (thrown instanceof Refusal) return thrown.code;
    throw thrown;
  }
}

class Denied extends Error {
  readonly code: Reason;
  readonly rule: Rule | undefined;

  constructor(code: Reason, rule: Rule | undefined) {
    super(code);
    this.code = code;
    this.rule = rule;
  }
}

/** Where a request would go to, as far as that is known without asking DNS. */
export function dialled({ config: { upstream } }: Compiled, { host, port }: Target): Dialled {
  const via = upstream.proxy && { via: `${upstream.proxy.host}:${upstream.proxy.port}` };
  const at = (name: string, number: number): string => `${name.includes(':') ? `[${name}]` : name}:${number}`;
  const override = upstream.resolve.get(host);
  if (override) return { to: at(override.address, override.port ?? port), check: 'resolve', ...via };
  const to = at(host, port);
  if (!isIpLiteral(host)) return { to, check: 'name', ...via };
  if (!mayDial(host, upstream.allowPrivate)) return { to, check: 'forbidden', ...via };
  return { to, check: classify(host) === 'public' ? 'public' : 'allow_private', ...via };
}
