import { capturePlaces } from '../capture/index.ts';
import { isAwsShape } from '../inject/shape.ts';
import type { CapturePlace } from '../types.ts';
import type { Path, Report } from './document.ts';
import { captureOptions, items, mapping, type Mapping } from './raw.ts';
import { suggest } from './words.ts';

/** What captures, and the credentials that they fill, say about each other. */
export function checkCaptures(root: Mapping, report: Report): void {
  const credentials = mapping(root['credentials']);
  const isCaptured = (name: unknown): boolean => mapping(credentials[String(name)])['capture'] === true;
  const filled = new Set<unknown>();
  for (const [i, item] of items(root['rules']).entries()) {
    const rule = mapping(item);
    const path = ['rules', i];
    const entries = items(rule['capture']).map(mapping);
    for (const { credential } of entries) filled.add(credential);
    if (entries.length > 0) checkRule(rule, path, report);
    checkEntries(entries, [...path, 'capture'], credentials, report);
    checkInjected(items(rule['inject']).map(mapping), [...path, 'inject'], isCaptured, report);
  }
  for (const [name, item] of Object.entries(credentials)) {
    const credential = mapping(item);
    if (credential['capture'] !== true) continue;
    checkCredential(credential, ['credentials', name], report);
    if (!filled.has(name))
      report(
        ['credentials', name, 'capture'],
        'is done by no rule; write `capture` into the rule whose answers hand it out',
      );
  }
}

function checkRule(rule: Mapping, path: Path, report: Report): void {
  const action = rule['action'];
  if (action === 'deny' || action === 'tunnel')
    report([...path, 'capture'], 'cannot be done in what nobody reads; leave it out, or write action: allow');
  if (rule['allow_range'] === true)
    report([...path, 'allow_range'], 'would hand out a secret in parts; leave it out where `capture` is');
}

function checkEntries(entries: readonly Mapping[], path: Path, credentials: Mapping, report: Report): void {
  const taken = new Set<string>();
  const captured = Object.keys(credentials).filter(name => mapping(credentials[name])['capture'] === true);
  for (const [i, entry] of entries.entries()) {
    const name = entry['credential'];
    if (typeof name === 'string' && !captured.includes(name)) {
      const hint = suggest(name, captured, 'define it under `credentials`');
      report([...path, i, 'credential'], `names no credential with \`capture: true\`; ${hint}`);
      continue;
    }
    const place = buildPlace(entry);
    if (!place) continue;
    if (taken.has(place.slot)) report([...path, i], 'is a place that is captured already; keep one');
    taken.add(place.slot);
    const isAws = isAwsShape(mapping(mapping(credentials[String(name)])['stub'])['shape']);
    if ((place.handsOutKeys === true) !== isAws)
      report(
        [...path, i, 'at'],
        isAws
          ? 'cannot hold AWS keys; write at: sts, or at: aws-json'
          : 'hands out AWS keys; write stub: { shape: aws-session } for them',
      );
  }
}

/** What is captured goes out only for the stub that was given for it. */
function checkInjected(
  entries: readonly Mapping[],
  path: Path,
  isCaptured: (name: unknown) => boolean,
  report: Report,
): void {
  for (const [i, entry] of entries.entries()) {
    if (!isCaptured(entry['credential'])) continue;
    if (entry['when'] === 'always')
      report(
        [...path, i, 'when'],
        'cannot be always for what is captured, each with a stub of its own; leave it out',
      );
    if (entry['as'] === 'websocket')
      report([...path, i, 'as'], 'cannot carry what is captured; write another placement');
  }
}

function checkCredential(credential: Mapping, path: Path, report: Report): void {
  const of = { from: 'a vault', mint: 'a minter', ttl: 'a vault', stale_for: 'a vault' };
  for (const [key, source] of Object.entries(of))
    if (credential[key] !== undefined)
      report([...path, key], `is for a secret of ${source}; leave it out, or \`capture\``);
  if (mapping(credential['stub'])['env'] !== undefined)
    report(
      [...path, 'stub', 'env'],
      'would be empty: there is no stub before the first capture; leave it out',
    );
}

function buildPlace(entry: Mapping): CapturePlace | undefined {
  const type = entry['at'];
  const plugin = typeof type === 'string' ? capturePlaces.get(type) : undefined;
  const options = plugin?.schema.safeParse(captureOptions(entry));
  return options?.success ? plugin?.build(options.data) : undefined;
}
