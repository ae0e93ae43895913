import type { Kind } from './probe.ts';
import type { Protocol } from './stand.ts';

/** A secret that reached the sandbox. */
export interface Leak {
  readonly credential: string;
  /** Such as `trailers`, or `the audit`. */
  readonly place: string;
  /** How it was spelled there. */
  readonly spelling: string;
  readonly kind: Kind | 'elsewhere';
  readonly probe: string;
  /** Of the sandbox's end, then of the upstream's. */
  readonly protocols: string;
}

/** A probe that proved nothing. */
export interface NotRun {
  readonly probe: string;
  readonly protocols: string;
  readonly why: string;
}

/** What was tried on one rule of one profile, for one injection of it. */
export interface RuleReport {
  readonly profile: string;
  readonly rule: string;
  readonly action: 'allow' | 'deny' | 'tunnel';
  /** Absent: the rule injects nothing. */
  readonly credential?: string;
  readonly placement?: string;
  probes: number;
  readonly leaks: Leak[];
  readonly notRun: NotRun[];
}

export interface Report {
  readonly rules: readonly RuleReport[];
  /** In what the gate itself wrote. */
  readonly elsewhere: readonly Leak[];
  /** Probes by kind of leak and protocols, such as `HTTP/2 → HTTP/1.1`. */
  readonly matrix: ReadonlyMap<Kind, ReadonlyMap<string, number>>;
  readonly seconds: number;
}

export type Verdict = 'pass' | 'LEAK' | 'not run';

export function verdictOf({ leaks, notRun }: RuleReport): Verdict {
  if (leaks.length > 0) return 'LEAK';
  return notRun.length > 0 ? 'not run' : 'pass';
}

/** Whether nothing leaked, and every probe ran. */
export function isProved({ rules, elsewhere }: Report): boolean {
  return elsewhere.length === 0 && rules.length > 0 && rules.every(rule => verdictOf(rule) === 'pass');
}

export const across = (client: Protocol, upstream: Protocol): string => `${client} → ${upstream}`;
