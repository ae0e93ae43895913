import { Buffer } from 'node:buffer';
import type { Profile } from '../config/types.ts';
import { type Example, exampleOf, type Wanted } from '../inject/example.ts';
import { canonicalPath } from '../policy/path.ts';
import { admit, decide, type RuleSpec } from '../policy/table.ts';
import type { CanonicalHost, Injection, Target } from '../types.ts';
import { authority, type Request } from './sandbox.ts';

/** A request that falls under a rule, and what its WebSocket sends. */
export interface Aimed {
  readonly request: Request;
  readonly message: Buffer | undefined;
}

/** Stands for what a glob leaves open. */
const ANY = 'verify';
const PORTS = { https: 443, http: 80 } as const;
const WITH_BODY = ['POST', 'PUT', 'PATCH'];

/**
 * A request that the profile's table gives to the rule, with the stub where the injection wants it. `method`: one that
 * the probe needs. Undefined: there is none, for the rule does not allow the method, or rules above it take them all.
 */
export function aim(
  profile: Profile,
  rule: RuleSpec,
  injection: Injection | undefined,
  { stub, ids }: Pick<Wanted, 'stub' | 'ids'>,
  method?: string,
): Aimed | undefined {
  for (const target of targetsOf(rule, injection, method)) {
    const example = injection
      ? exampleOf(injection.placement, { ...target, authority: authority(target), stub, ids })
      : plain(target.path);
    const path = example && canonicalPath(example.target)?.path;
    if (!example || path === undefined || !falls(profile, rule, { ...target, path })) continue;
    const { scheme, host, port } = target;
    const { headers, body, message } = example;
    return {
      request: { scheme, host, port, method: target.method, target: example.target, headers, body },
      message,
    };
  }
  return undefined;
}

const plain = (path: string): Example => ({ target: path, headers: [], body: Buffer.alloc(0) });

/** As the gate asks: first at CONNECT, then for the request in it. */
function falls({ table }: Profile, rule: RuleSpec, target: Target): boolean {
  const admission = target.scheme === 'https' ? admit(table, withoutRequest(target)) : undefined;
  const decision = !admission || admission.verdict === 'intercept' ? decide(table, target) : admission;
  return decision.rule?.name === rule.name;
}

const withoutRequest = ({ scheme, host, port }: Target): Target => ({ scheme, host, port });

type Complete = Required<Target>;

/** What may fall under the rule, the likeliest first. */
function* targetsOf(
  rule: RuleSpec,
  injection: Injection | undefined,
  method: string | undefined,
): Generator<Complete> {
  const methods =
    method === undefined
      ? methodsOf(rule, injection)
      : [method].filter(one => rule.methods?.includes(one) !== false);
  for (const scheme of rule.schemes)
    for (const port of rule.ports ?? [PORTS[scheme]])
      for (const host of rule.hosts.map(concreteHost))
        for (const one of methods)
          for (const path of pathsOf(rule, injection)) yield { scheme, port, host, method: one, path };
}

/** A host that a rule's host covers. */
export function concreteHost(host: string): CanonicalHost {
  return (host === '*' ? `${ANY}.stubgate.test` : host.replace(/^\*/, ANY)) as CanonicalHost;
}

function methodsOf(rule: RuleSpec, injection: Injection | undefined): readonly string[] {
  const allowed = rule.methods ?? ['GET', ...WITH_BODY, 'DELETE', 'OPTIONS', 'HEAD'];
  if (injection?.placement.body) return allowed.filter(one => WITH_BODY.includes(one));
  return allowed.includes('GET') ? ['GET', ...allowed.filter(one => one !== 'GET')] : allowed;
}

function pathsOf(rule: RuleSpec, injection: Injection | undefined): readonly string[] {
  const globs = (rule.paths ?? ['/**']).flatMap(glob => [
    glob.replace('/**', `/${ANY}`),
    glob.replace('/**', ''),
    glob,
  ]);
  const written = globs
    .map(glob => glob.replaceAll('**', `${ANY}/${ANY}`).replaceAll('*', ANY))
    .map(path => path || '/');
  if (injection?.placement.type !== 'path') return written;
  const start = injection.placement.slot
    .replace(/^path /, '')
    .replace('{credential}', ANY)
    .replaceAll('*', ANY);
  return [...['', `/${ANY}`, `/${ANY}/${ANY}`, '/'].map(rest => start + rest), ...written];
}

/** Stands for stubs where only their place counts. */
export const SAMPLE = {
  stub: 'stub',
  ids: { accessKeyId: () => 'AKIAAAAAAAAAAAAAAAAA', sessionToken: () => 'token' },
};
