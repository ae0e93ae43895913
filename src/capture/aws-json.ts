import { z } from 'zod';
import { POINTER, tokensOf } from '../inject/json.ts';
import { locate } from '../inject/json-text.ts';
import { define } from '../registry.ts';
import { BodyFault, type CapturePlace, type Handout, type ReadAnswer, type Spot } from '../types.ts';
import { lifeUntil } from './expiry.ts';

/** Part of a set of keys → how services call it. */
const SPELLINGS = {
  AccessKeyId: ['AccessKeyId', 'accessKeyId'],
  SecretAccessKey: ['SecretAccessKey', 'secretAccessKey', 'SecretKey'],
  SessionToken: ['SessionToken', 'sessionToken'],
} as const;
type Part = keyof typeof SPELLINGS;
const PARTS = Object.keys(SPELLINGS) as Part[];

/** What stands in the place of each part. */
export const WRITE: Readonly<Record<Part, Spot['write']>> = {
  AccessKeyId: (stub, ids) => ids.accessKeyId(stub),
  SecretAccessKey: stub => stub,
  SessionToken: (stub, ids) => ids.sessionToken(stub),
};
/** As AWS makes them. */
export const KEY_TEXT = /^[\w+/=-]+$/;

/** A member's name that tells of keys, wherever it stands. */
const NEAR = /^(?:access_?key_?id|secret_?(?:access_?)?key|session_?token)$/i;
const IN_TEXT = /"(?:access_?key_?id|secret_?(?:access_?)?key|session_?token)"\s*:/gi;
/** What may stand beside the keys. */
const SECRET = /key|secret|token|password|credential/i;

type Json = Readonly<Record<string, unknown>>;

/** The one set of keys in a JSON text, at a pointer's tokens. Undefined: there is none. Throws BodyFault for any more than it. */
export function keysIn(body: Buffer, tokens: readonly string[]): Handout | undefined {
  const place = locate(body, tokens);
  const isThere = place !== undefined && place.start < place.end;
  const object = isThere ? (JSON.parse(body.toString('utf8', place.start, place.end)) as unknown) : null;
  const near = nearKeys(JSON.parse(body.toString()) as unknown);
  if (object === null && near === 0) return undefined;
  if (!isObject(object)) throw unclear();
  const names = new Map(
    PARTS.map(part => [part, SPELLINGS[part].filter(name => Object.hasOwn(object, name))]),
  );
  const found = PARTS.flatMap(part => (names.get(part) ?? []).map(name => [part, name] as const));
  const isOne = PARTS.every(part => (names.get(part)?.length ?? 0) === 1);
  const others = Object.keys(object).filter(name => !found.some(([, own]) => own === name));
  const inText = body.toString('latin1').match(IN_TEXT)?.length ?? 0;
  if (!isOne || near !== PARTS.length || inText !== PARTS.length || others.some(name => SECRET.test(name)))
    throw unclear();
  const spots = found.map(([part, name]) => spotAt(body, [...tokens, name], WRITE[part]));
  const lifeMs = lifeUntil(object['Expiration'] ?? object['expiration']);
  return {
    value: JSON.stringify(Object.fromEntries(found.map(([part], i) => [part, spots[i]?.text]))),
    spots,
    ...(lifeMs !== undefined && { lifeMs }),
  };
}

function spotAt(body: Buffer, tokens: readonly string[], write: Spot['write']): Spot {
  const { start, end } = locate(body, tokens) as { start: number; end: number };
  const text: unknown = JSON.parse(body.toString('utf8', start, end));
  if (typeof text !== 'string' || !KEY_TEXT.test(text))
    throw new BodyFault('holds keys in another form than AWS makes them', '');
  return { in: 'body', start, end, text, write: (stub, ids) => JSON.stringify(write(stub, ids)) };
}

/** Members that tell of keys, at any depth; the reader of the body bounds that. */
function nearKeys(value: unknown): number {
  if (Array.isArray(value)) return value.reduce<number>((sum, one) => sum + nearKeys(one), 0);
  if (!isObject(value)) return 0;
  return Object.entries(value).reduce((sum, [name, one]) => sum + Number(NEAR.test(name)) + nearKeys(one), 0);
}

export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function unclear(): BodyFault {
  return new BodyFault('holds something else than one whole set of keys', '');
}

/** AWS keys in a JSON answer of another service than STS, such as IAM Identity Center or Cognito. */
class AwsJson implements CapturePlace {
  readonly type = 'aws-json';
  readonly body = ['json'] as const;
  readonly handsOutKeys = true;
  readonly slot: string;
  readonly #tokens: readonly string[];

  constructor(pointer: string) {
    this.slot = `aws-json ${pointer}`;
    this.#tokens = tokensOf(pointer);
  }

  find({ body }: ReadAnswer): Handout | undefined {
    return keysIn(body, this.#tokens);
  }
}

export const awsJson = define({
  type: 'aws-json',
  summary: 'AWS keys in a JSON answer, at a JSON Pointer such as /roleCredentials, for as: aws-sigv4',
  schema: z.strictObject({
    pointer: z
      .string()
      .max(256)
      .regex(POINTER, 'must be a JSON Pointer (RFC 6901), such as /roleCredentials')
      .describe('Where the object with the three parts stands, such as /roleCredentials or /Credentials.'),
  }),
  build: ({ pointer }): CapturePlace => new AwsJson(pointer),
});
