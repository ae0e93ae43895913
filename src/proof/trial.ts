import type { Compiled, Profile } from '../config/types.ts';
import type { RuleSpec } from '../policy/table.ts';
import type { Injection } from '../types.ts';
import type { Probe } from './probe.ts';
import { PROBES, WEBSOCKET_PROBES } from './probes.ts';
import type { RuleReport } from './report.ts';
import { type Aimed, aim, SAMPLE } from './requests.ts';
import type { Wanted } from '../inject/example.ts';
import type { Protocol } from './stand.ts';

/** One rule of one profile, and one of its injections: what is tried on it. */
export interface Trial {
  readonly profile: Profile;
  readonly rule: RuleSpec;
  readonly injection: Injection | undefined;
  readonly report: RuleReport;
}

/** One probe of a trial. */
export interface Task {
  readonly trial: Trial;
  readonly probe: Probe;
  readonly client: Protocol;
  readonly upstream: Protocol;
  /** The request, with this stub where the injection wants it. */
  aim(held: Pick<Wanted, 'stub' | 'ids'>): Aimed | undefined;
}

const PROTOCOLS: readonly Protocol[] = ['HTTP/1.1', 'HTTP/2'];

/** Every rule that a profile selects, once for each injection, or once if it has none. */
export function trialsOf({ config, profiles }: Compiled, only: string | undefined): Trial[] {
  const chosen = [...profiles.values()].filter(({ name }) => only === undefined || name === only);
  return chosen.flatMap(profile =>
    config.rules
      .filter(({ name }) => profile.rules.includes(name))
      .flatMap(rule => {
        const injections = rule.injections.length > 0 ? rule.injections : [undefined];
        return injections.map(injection => ({
          profile,
          rule,
          injection,
          report: reportOf(profile, rule, injection),
        }));
      }),
  );
}

function reportOf(profile: Profile, rule: RuleSpec, injection: Injection | undefined): RuleReport {
  return {
    profile: profile.name,
    rule: rule.name,
    action: rule.action,
    ...(injection && { credential: injection.credential, placement: injection.placement.slot }),
    probes: 0,
    leaks: [],
    notRun: [],
  };
}

const changesType = ({ fields = [] }: Probe): boolean => fields.some(([name]) => name === 'content-type');

/** The probes of a trial. A rule that no request reaches has none, which its report says. */
export function tasksOf(trial: Trial): Task[] {
  const { profile, rule, injection, report } = trial;
  if (rule.action !== 'allow') return [];
  const reach = (method?: string) => (held: Pick<Wanted, 'stub' | 'ids'>) =>
    aim(profile, rule, injection, held, method);
  const first = reach()(SAMPLE);
  if (!first) {
    report.notRun.push({
      probe: 'all',
      protocols: '',
      why: 'no request reaches the rule, for rules above it take them all',
    });
    return [];
  }
  const isMessage = first.message !== undefined;
  const pairs = PROTOCOLS.flatMap(client => PROTOCOLS.map(upstream => ({ client, upstream })));
  const tasks: Task[] = [];
  for (const { client, upstream } of pairs) {
    const isPlain = first.request.scheme === 'http';
    if (isPlain && (client === 'HTTP/2' || upstream === 'HTTP/2')) continue;
    const isMixed = client !== upstream;
    for (const probe of isMessage ? [] : PROBES) {
      if ((isMixed && !probe.isMixed) || (probe.isHttp1 && upstream === 'HTTP/2')) continue;
      // A body in which the gate writes is of a type of its own.
      if (injection?.placement.body && changesType(probe)) continue;
      const aimed = reach(probe.method);
      if (aimed(SAMPLE)) tasks.push({ trial, probe, client, upstream, aim: aimed });
    }
  }
  const handshake = reach('GET');
  // A rule that captures carries none.
  if (!rule.captures && handshake(SAMPLE) && !first.request.body.length)
    for (const probe of WEBSOCKET_PROBES)
      tasks.push({ trial, probe, client: 'HTTP/1.1', upstream: 'HTTP/1.1', aim: handshake });
  return tasks;
}
