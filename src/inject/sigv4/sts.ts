import { Refusal } from '../../errors.ts';
import { has } from '../../fields.ts';
import type { OutboundHead } from '../../types.ts';
import { textOf } from '../body.ts';
import { fieldValues } from '../fields.ts';
import { isNamed, keyOf, pairsOf, valueOf } from '../pairs.ts';
import { percentDecode } from '../percent.ts';

/** Actions of the Security Token Service that hand out no credentials (STS API, "Actions"). */
const HARMLESS = ['GetCallerIdentity', 'GetAccessKeyInfo', 'DecodeAuthorizationMessage'];

/** Those that hand out keys as `Credentials`, and nothing else that is secret. */
const CAPTURED = [
  'AssumeRole',
  'AssumeRoleWithSAML',
  'AssumeRoleWithWebIdentity',
  'AssumeRoot',
  'GetFederationToken',
  'GetSessionToken',
];

/**
 * Nobody could find, in an answer of STS, keys that are made only then: unless they are captured, their makers are not
 * asked. Throws rule_denies for every other action, and for one that is not told in the one way that STS documents.
 * `out.body` is there, if any.
 */
export function requireKnownAction(out: OutboundHead): void {
  const [path, query = ''] = out.originForm.split(/\?(.*)/s);
  const body = out.body ? textOf(out.body) : '';
  const isForm = body === '' || /^application\/x-www-form-urlencoded *(?:;|$)/i.test(typeOf(out));
  const actions = [...pairsOf(query), ...pairsOf(body)].filter(
    pair => percentDecode(keyOf(pair)).trim().toLowerCase() === 'action',
  );
  const [action = ''] = actions;
  const known = out.capturesKeys ? [...HARMLESS, ...CAPTURED] : HARMLESS;
  const isOne = actions.length === 1 && isNamed(action, 'Action') && known.includes(valueOf(action));
  if (path === '/' && isForm && isOne && !has(out.source.headers, 'x-amz-target')) return;
  throw new Refusal('rule_denies', {
    message: `Of STS only ${known.join(', ')} are signed for: the others hand out credentials`,
    hint: 'Ask your operator for a credential with the role that you need, or for a rule that captures it',
  });
}

function typeOf(out: OutboundHead): string {
  return fieldValues(out, 'content-type').join();
}
