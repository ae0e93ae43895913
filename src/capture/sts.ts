import { z } from 'zod';
import { get } from '../fields.ts';
import { define } from '../registry.ts';
import { BodyFault, type CapturePlace, type Handout, type ReadAnswer, type Spot } from '../types.ts';
import { isObject, KEY_TEXT, keysIn, WRITE } from './aws-json.ts';
import { lifeUntil } from './expiry.ts';
import { type Leaf, leavesOf } from './xml.ts';

const PARTS = ['AccessKeyId', 'SecretAccessKey', 'SessionToken'] as const;
/** The `Credentials` in an answer of the Security Token Service (STS API, "AssumeRole"), as one set of keys. */
class Sts implements CapturePlace {
  readonly type = 'sts';
  readonly slot = 'sts Credentials';
  readonly body = ['xml', 'json'] as const;
  readonly handsOutKeys = true;
  // GetCallerIdentity is asked at the same address.
  readonly isQuiet = true;

  find({ headers, body }: ReadAnswer): Handout | undefined {
    // What `Accept: application/json` asks for.
    if (/json/i.test(get(headers, 'content-type') ?? '')) return keysIn(body, pathIn(body));
    const leaves = leavesOf(body.toString('latin1'));
    const near = leaves.filter(({ path }) =>
      /credentials|(?:^|\/)(?:accesskeyid|secretaccesskey|sessiontoken)$/i.test(path),
    );
    if (near.length === 0) return undefined;
    const found = PARTS.map(part => [part, leaves.filter(({ path }) => isPart(path, part))] as const);
    const isWhole = found.every(([, { length }]) => length === 1);
    // And when they end, which is no secret.
    const ends = near.filter(({ path }) => isPart(path, 'Expiration'));
    const others = near.filter(leaf => !ends.includes(leaf));
    if (!isWhole || others.length !== PARTS.length || ends.length > 1)
      throw new BodyFault('holds something else than one whole set of Credentials', '');
    const spots = found.map(([part, [leaf]]) => spotOf(leaf as Leaf, WRITE[part]));
    const lifeMs = lifeUntil(ends[0]?.text);
    return {
      ...(lifeMs !== undefined && { lifeMs }),
      value: JSON.stringify(Object.fromEntries(found.map(([part, [leaf]]) => [part, leaf?.text]))),
      spots,
    };
  }
}

/** Where an answer in JSON has its keys, if it has any. */
function pathIn(body: Buffer): string[] {
  const [response, value] = onlyMember(parsed(body), /^\w+Response$/) ?? [];
  const [result] = onlyMember(value, /^\w+Result$/) ?? [];
  return [response ?? '', result ?? '', 'Credentials'];
}

function onlyMember(value: unknown, name: RegExp): [string, unknown] | undefined {
  const found = isObject(value) ? Object.entries(value).filter(([key]) => name.test(key)) : [];
  return found.length === 1 ? found[0] : undefined;
}

function parsed(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    throw new BodyFault('is not JSON (RFC 8259)', '');
  }
}

function isPart(path: string, part: string): boolean {
  return /^\w+Response\/\w+Result\/Credentials\/(\w+)$/.exec(path)?.[1] === part;
}

function spotOf({ text, start, end }: Leaf, write: Spot['write']): Spot {
  if (!KEY_TEXT.test(text)) throw new BodyFault('holds keys in another form than AWS makes them', '');
  return { in: 'body', start, end, text, write };
}

export const sts = define({
  type: 'sts',
  summary: 'The Credentials in an answer of the AWS Security Token Service, for as: aws-sigv4',
  schema: z.strictObject({}),
  build: (): CapturePlace => new Sts(),
});
