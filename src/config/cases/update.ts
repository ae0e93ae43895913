import { isMap, isScalar, parseDocument, type YAMLMap } from 'yaml';
import type { Expectation } from './schema.ts';

/** What a case got, by the keys of `expect`. */
export type Outcome = Required<Expectation> | Expectation;

/**
 * The text of a file of cases in which the cases expect what they got; comments stay. Written are the keys that a case
 * had, or for one without `expect` those that tell most.
 */
export function updatedCases(text: string, outcomes: ReadonlyMap<number, Outcome>): string {
  const document = parseDocument(text);
  for (const [index, outcome] of outcomes) {
    const path = ['cases', index, 'expect'];
    const written = document.getIn(path, true);
    if (!isMap(written)) {
      const node = document.createNode(defaultKeys(outcome)) as YAMLMap;
      node.flow = true;
      document.setIn(path, node);
      continue;
    }
    for (const [key, value] of Object.entries(keptKeys(written, outcome))) {
      const node = written.get(key, true);
      if (isScalar(node) && (typeof value === 'string' || value === null)) node.value = value;
      else if (value === undefined) written.delete(key);
      else written.set(key, flowing(document.createNode(value)));
    }
  }
  return document.toString({ lineWidth: 0, flowCollectionPadding: true });
}

function defaultKeys({ verdict, reason, rule, inject }: Outcome): Expectation {
  const injects = inject?.map(({ credential, as }) => ({ credential, ...(as && { as }) }));
  return { verdict, ...(reason && { reason }), rule, ...(verdict === 'allow' && { inject: injects }) };
}

/** The keys that the case had; a reason also where one is needed now, and none where there is none. */
function keptKeys(written: YAMLMap, outcome: Outcome): Expectation {
  const had = (key: string): boolean => written.has(key);
  const inject = had('inject') ? { inject: sameKeys(written, outcome) } : {};
  return {
    verdict: outcome.verdict,
    ...((had('reason') || outcome.verdict === 'deny') && { reason: outcome.reason }),
    ...(had('rule') && { rule: outcome.rule }),
    ...(had('dial') && { dial: outcome.dial }),
    ...inject,
  };
}

function sameKeys(written: YAMLMap, { inject = [] }: Outcome): Expectation['inject'] {
  const before = (written.toJSON() as Expectation).inject ?? [];
  const tellsPlace = before.some(({ at }) => at !== undefined);
  const tellsKind = before.length === 0 || before.some(({ as }) => as !== undefined);
  return inject.map(({ credential, as, at }) => ({
    credential,
    ...(tellsKind && { as }),
    ...(tellsPlace && { at }),
  }));
}

function flowing<T>(node: T): T {
  if (typeof node === 'object' && node !== null) Object.assign(node, { flow: true });
  return node;
}
