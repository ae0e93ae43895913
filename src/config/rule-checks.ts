import { placements } from '../inject/index.ts';
import { isAwsShape } from '../inject/shape.ts';
import { signs } from '../inject/signing.ts';
import { canonicalRuleHost, type RuleHost } from '../policy/host.ts';
import type { Placement } from '../types.ts';
import type { Path, Report } from './document.ts';
import { items, mapping, type Mapping, placementOptions, texts } from './raw.ts';
import { suggest } from './words.ts';

/** Names below which anybody can register: `*.com`, and `*.co.uk` and its like. */
const PUBLIC_SUFFIX =
  /^\*\.(?:[^.]+|(?:ac|co|com|edu|gob|gouv|gov|govt|mil|ne|net|nom|or|org|sch)\.[a-z]{2})$/;

/** What the keys of a rule say about each other, and rules about other parts of the file. */
export function checkRules(root: Mapping, report: Report): void {
  const credentials = Object.keys(mapping(root['credentials']));
  const names = new Map<unknown, number>();
  for (const [i, item] of items(root['rules']).entries()) {
    const rule = mapping(item);
    const path = ['rules', i];
    const first = names.get(rule['name']);
    if (rule['name'] === undefined || first === undefined) names.set(rule['name'], i);
    else report([...path, 'name'], `is the name of rules[${first}] too; give each rule a name of its own`);
    checkAction(rule, path, report);
    if (items(rule['inject']).length + items(rule['capture']).length === 0) continue;
    checkWhereInjected(rule, path, report);
    const entries = items(rule['inject']).map(mapping);
    checkInjections(entries, [...path, 'inject'], credentials, report);
    checkSigning(entries, [...path, 'inject'], mapping(root['credentials']), report);
  }
}

function checkAction(rule: Mapping, path: Path, report: Report): void {
  const action = rule['action'];
  if (action !== 'deny' && action !== 'tunnel') return;
  if (items(rule['inject']).length > 0) {
    const where = action === 'deny' ? 'a request that is denied' : 'a tunnel that nobody reads';
    report([...path, 'inject'], `cannot be done in ${where}; leave it out, or write action: allow`);
  }
  if (action === 'deny') return;
  for (const key of ['methods', 'paths']) {
    if (rule[key] === undefined) continue;
    report(
      [...path, key],
      'cannot be seen in a tunnel, whose bytes pass unread; leave it out, or write action: allow',
    );
  }
  if (texts(rule['schemes']).includes('http')) {
    report(
      [...path, 'schemes'],
      'holds http, which is never tunnelled; leave it out, or write action: allow',
    );
  }
}

/** A credential may go only to hosts that one owner answers for, and not in clear. */
function checkWhereInjected(rule: Mapping, path: Path, report: Report): void {
  for (const [i, text] of items(rule['hosts']).entries()) {
    const host = typeof text === 'string' ? canonicalRuleHost(text) : undefined;
    if (host !== undefined && isTooWide(host)) {
      report(
        [...path, 'hosts', i],
        'is too wide for a rule that injects or captures; write each host, or *.example.com below a name of its owner',
      );
    }
  }
  if (texts(rule['schemes']).includes('http') && rule['insecure'] !== true) {
    report(
      [...path, 'schemes'],
      'sends a credential in clear over http; leave out http, or write insecure: true if the way is safe',
    );
  }
}

function isTooWide(host: RuleHost): boolean {
  return host === '*' || PUBLIC_SUFFIX.test(host);
}

function checkInjections(
  entries: readonly Mapping[],
  path: Path,
  credentials: readonly string[],
  report: Report,
): void {
  const taken = new Map<string, Mapping[]>();
  for (const [i, entry] of entries.entries()) {
    const credential = entry['credential'];
    if (typeof credential === 'string' && !credentials.includes(credential)) {
      const hint = suggest(credential, credentials, 'define it under `credentials`');
      report([...path, i, 'credential'], `names no credential of this file; ${hint}`);
    }
    const slot = buildPlacement(entry)?.slot;
    if (slot === undefined) continue;
    const others = taken.get(slot) ?? [];
    if (others.some(other => other['credential'] === credential)) {
      report([...path, i], 'puts the same credential at the same place again; keep one');
    } else if ([...others, entry].some(({ required }) => required === true) && others.length > 0) {
      report(
        [...path, i],
        'shares its place with another injection, so neither can be `required`; leave that out',
      );
    }
    // Which place that is, is not said: its name is a text that nothing has checked for a secret.
    if ([...taken.keys()].some(other => isInside(other, slot) || isInside(slot, other)))
      report([...path, i], 'overlaps the place of an injection before it; keep one');
    taken.set(slot, [...others, entry]);
  }
}

/** Only AWS keys can sign, and they go on the wire in no other way; what is signed does not change any more. */
function checkSigning(entries: readonly Mapping[], path: Path, credentials: Mapping, report: Report): void {
  const built = entries.map(buildPlacement);
  const isSigned = built.some(placement => placement && signs(placement));
  for (const [i, entry] of entries.entries()) {
    const credential = mapping(credentials[String(entry['credential'])]);
    const isAws = isAwsShape(mapping(credential['stub'])['shape']);
    const placement = built[i];
    if (!placement) continue;
    if (signs(placement) && !isAws && Object.keys(credential).length > 0)
      report(
        [...path, i, 'credential'],
        'cannot sign; write stub: { shape: aws } for it, and AWS keys in its vault',
      );
    if (!signs(placement) && isAws)
      report([...path, i, 'as'], 'cannot carry AWS keys, which only sign; write as: aws-sigv4');
    if (isSigned && (placement.body || placement.type === 'websocket'))
      report([...path, i], 'changes what aws-sigv4 signs; give it a rule of its own');
  }
}

/** Whether one place is a part of another: a cookie of the whole field, a JSON value of an object. */
function isInside(outer: string, slot: string): boolean {
  if (outer === 'header cookie') return slot.startsWith('cookie ');
  return outer.startsWith('json ') && slot.startsWith(`${outer}/`);
}

function buildPlacement(entry: Mapping): Placement | undefined {
  const type = entry['as'];
  const plugin = typeof type === 'string' ? placements.get(type) : undefined;
  const options = plugin?.schema.safeParse(placementOptions(entry));
  return options?.success ? plugin?.build(options.data) : undefined;
}
