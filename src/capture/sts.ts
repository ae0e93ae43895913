import { z } from 'zod';
import { define } from '../registry.ts';
import { BodyFault, type CapturePlace, type Handout, type ReadAnswer, type Spot } from '../types.ts';
import { type Leaf, leavesOf } from './xml.ts';

const PARTS = ['AccessKeyId', 'SecretAccessKey', 'SessionToken'] as const;
const WRITE: Readonly<Record<(typeof PARTS)[number], Spot['write']>> = {
  AccessKeyId: (stub, ids) => ids.accessKeyId(stub),
  SecretAccessKey: stub => stub,
  SessionToken: (stub, ids) => ids.sessionToken(stub),
};

/** The `Credentials` in an answer of the Security Token Service (STS API, "AssumeRole"), as one set of keys. */
class Sts implements CapturePlace {
  readonly type = 'sts';
  readonly slot = 'sts Credentials';
  readonly body = 'xml';
  // GetCallerIdentity is asked at the same address.
  readonly isQuiet = true;

  find({ body }: ReadAnswer): Handout | undefined {
    const leaves = leavesOf(body.toString('latin1'));
    const near = leaves.filter(({ path }) =>
      /credentials|(?:^|\/)(?:accesskeyid|secretaccesskey|sessiontoken)$/i.test(path),
    );
    if (near.length === 0) return undefined;
    const found = PARTS.map(part => [part, leaves.filter(({ path }) => isPart(path, part))] as const);
    const isWhole = found.every(([, { length }]) => length === 1);
    // And when they end, which is no secret.
    const others = near.filter(({ path }) => !/^\w+Response\/\w+Result\/Credentials\/Expiration$/.test(path));
    if (!isWhole || others.length !== PARTS.length)
      throw new BodyFault('holds something else than one whole set of Credentials', '');
    const spots = found.map(([part, [leaf]]) => spotOf(leaf as Leaf, WRITE[part]));
    return {
      value: JSON.stringify(Object.fromEntries(found.map(([part, [leaf]]) => [part, leaf?.text]))),
      spots,
    };
  }
}

function isPart(path: string, part: string): boolean {
  return /^\w+Response\/\w+Result\/Credentials\/(\w+)$/.exec(path)?.[1] === part;
}

function spotOf({ text, start, end }: Leaf, write: Spot['write']): Spot {
  if (!/^[\w+/=-]+$/.test(text)) throw new BodyFault('holds keys in another form than AWS makes them', '');
  return { in: 'body', start, end, text, write };
}

export const sts = define({
  type: 'sts',
  summary: 'The Credentials in an XML answer of the AWS Security Token Service, for as: aws-sigv4',
  schema: z.strictObject({}),
  build: (): CapturePlace => new Sts(),
});
