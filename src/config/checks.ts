import { checkIdentity } from './identity-checks.ts';
import { isAwsShape } from '../inject/shape.ts';
import { awsVariableFault, variableNames } from '../inject/stands-for.ts';
import { exchangesSession, mintsWithout, REF_KEYS } from '../mint/index.ts';
import type { Path, Report } from './document.ts';
import { items, mapping, type Mapping, texts } from './raw.ts';
import { checkCaptures } from './capture-checks.ts';
import { checkRules } from './rule-checks.ts';
import { parseListen, parseSecretRef } from './scalars.ts';
import { SOURCE } from './schema.ts';
import { looksSecret } from './secrets.ts';
import { suggest } from './words.ts';

/** Vaults that need no entry. */
export const BUILT_IN_VAULTS = ['env', 'file'] as const;

/**
 * What one key says about another. Works on a file whose form may be wrong in places, so that all problems are told at
 * once; passes over whatever it cannot read.
 */
export function crossCheck(root: Mapping, report: Report): void {
  checkListeners(root, report);
  checkCa(mapping(root['ca']), report);
  checkVaults(root, report);
  checkCredentials(root, report);
  checkRules(root, report);
  checkCaptures(root, report);
  checkProfiles(root, report);
  checkIdentity(root, report);
  checkStubVariables(root, report);
}

/** What is valid but probably not meant. */
export function findWarnings(
  root: Mapping,
  warn: (path: Path, message: string, code: 'SG020' | 'SG021' | 'SG022' | 'SG023') => void,
): void {
  if (items(root['rules']).length === 0)
    warn(['rules'], 'there are no rules, so every request is denied', 'SG020');
  const admin = mapping(root['listen'])['admin'];
  const host = typeof admin === 'string' ? parseListen(admin)?.host : undefined;
  if (host === '0.0.0.0' || host === '::') {
    warn(
      ['listen', 'admin'],
      'the control plane listens on every address; write 127.0.0.1 or unix:/path, out of reach of sandboxes',
      'SG021',
    );
  }
  const order = new Map(ruleNames(root).map((rule, position) => [rule, position]));
  for (const [name, profile] of Object.entries(mapping(root['profiles']))) {
    const path = ['profiles', name, 'rules'];
    const positions = texts(mapping(profile)['rules']).map(rule => order.get(rule) ?? 0);
    if (positions.length === 0) warn(path, 'this profile has no rules, so it denies every request', 'SG022');
    if (positions.some((position, i) => i > 0 && position < (positions[i - 1] as number))) {
      warn(
        path,
        'rules are asked in the order in which they stand under `rules`; write them in that order here too',
        'SG023',
      );
    }
  }
}

function checkListeners(root: Mapping, report: Report): void {
  const { proxy, admin } = mapping(root['listen']);
  if (typeof proxy === 'string' && proxy === admin && !proxy.endsWith(':0')) {
    report(['listen', 'admin'], 'is the address of the proxy too; give it another port');
  }
}

function checkCa({ cert, key }: Mapping, report: Report): void {
  if (cert !== undefined && key === undefined)
    report(['ca', 'key'], 'is missing; `cert` needs its private key');
  if (key !== undefined && cert === undefined)
    report(['ca', 'cert'], 'is missing; `key` needs its certificate');
}

function checkVaults(root: Mapping, report: Report): void {
  for (const name of BUILT_IN_VAULTS) {
    const { type } = mapping(mapping(root['vaults'])[name]);
    if (typeof type === 'string' && type !== name) {
      report(
        ['vaults', name, 'type'],
        `is not ${name}, which that name promises; give this vault another name`,
      );
    }
  }
}

function checkCredentials(root: Mapping, report: Report): void {
  const vaults = mapping(root['vaults']);
  const names = [...new Set([...BUILT_IN_VAULTS, ...Object.keys(vaults)])];
  for (const [name, credential] of Object.entries(mapping(root['credentials']))) {
    const { from, mint, stub, capture } = mapping(credential);
    // Of `null` and the like the schema tells.
    if (
      from === undefined &&
      capture === undefined &&
      typeof credential === 'object' &&
      credential !== null &&
      !mintsWithout(mapping(mint))
    )
      report(['credentials', name, 'from'], `is missing; write ${SOURCE}`);
    if (from !== undefined && exchangesSession(mapping(mint)))
      report(
        ['credentials', name, 'from'],
        'is not what is exchanged where `mint` has `subject: session`; leave one of the two out',
      );
    checkVariable(mapping(stub), ['credentials', name, 'stub', 'env'], report);
    checkRef(from, ['credentials', name, 'from'], names, report);
    for (const key of REF_KEYS)
      checkRef(mapping(mint)[key], ['credentials', name, 'mint', key], names, report);
  }
}

function checkVariable({ env, shape }: Mapping, path: Path, report: Report): void {
  const fault = isAwsShape(shape) && typeof env === 'string' ? awsVariableFault(env) : undefined;
  if (fault !== undefined) report(path, fault);
}

function checkRef(from: unknown, path: Path, vaults: readonly string[], report: Report): void {
  const ref = typeof from === 'string' ? parseSecretRef(from) : undefined;
  if (!ref) return;
  if (!vaults.includes(ref.vault)) {
    report(path, `names no vault of this file; ${suggest(ref.vault, vaults)}`);
  } else if (ref.vault === 'env' && (looksSecret(ref.id) || !/^[A-Za-z_][A-Za-z0-9_]*$/.test(ref.id))) {
    report(
      path,
      'does not look like the name of an environment variable; write env:NAME, never the secret itself',
    );
  }
}

function checkProfiles(root: Mapping, report: Report): void {
  const known = ruleNames(root);
  const isKnown = new Set(known);
  const profiles = root['profiles'];
  if (profiles !== undefined && profiles !== null && Object.keys(mapping(profiles)).length === 0) {
    report(['profiles'], 'is empty; write profiles, or leave it out for one profile with every rule');
  }
  for (const [name, profile] of Object.entries(mapping(profiles))) {
    const rules = items(mapping(profile)['rules']);
    const seen = new Set<string>();
    for (const [i, rule] of rules.entries()) {
      if (typeof rule !== 'string') continue;
      const path = ['profiles', name, 'rules', i];
      if (!isKnown.has(rule)) {
        report(path, `names no rule of this file; ${suggest(rule, known, 'define it under `rules`')}`);
      } else if (seen.has(rule)) {
        report(path, 'is there twice; name each rule once');
      }
      seen.add(rule);
    }
  }
}

/** Two stubs cannot stand in one variable of one sandbox. */
function checkStubVariables(root: Mapping, report: Report): void {
  const credentials = mapping(root['credentials']);
  const told = new Set<string>();
  for (const names of credentialsPerProfile(root)) {
    const owners = new Map<string, string>();
    for (const name of names) {
      const { env, shape } = mapping(mapping(credentials[name])['stub']);
      if (typeof env !== 'string') continue;
      const variables = variableNames({ env, shape: String(shape) });
      const isFirst = !variables.some(variable => owners.has(variable));
      if (isFirst) for (const variable of variables) owners.set(variable, name);
      else if (!told.has(name))
        report(
          ['credentials', name, 'stub', 'env'],
          'is the variable of another credential in the same profile; give each its own',
        );
      if (!isFirst) told.add(name);
    }
  }
}

function credentialsPerProfile(root: Mapping): Set<string>[] {
  const rules = items(root['rules']).map(mapping);
  const injected = (rule: Mapping) => texts(items(rule['inject']).map(entry => mapping(entry)['credential']));
  if (root['profiles'] === undefined) return [new Set(rules.flatMap(injected))];
  return Object.values(mapping(root['profiles'])).map(profile => {
    const chosen = new Set(texts(mapping(profile)['rules']));
    return new Set(rules.filter(rule => chosen.has(String(rule['name']))).flatMap(injected));
  });
}

function ruleNames(root: Mapping): readonly string[] {
  return texts(items(root['rules']).map(rule => mapping(rule)['name']));
}
