import { isUtf8 } from 'node:buffer';
import { z } from 'zod';
import { Refusal } from '../errors.ts';
import { Names } from '../fields.ts';
import {
  BodyFault,
  type BodyKind,
  type Injection,
  type OutboundBody,
  type OutboundHead,
  type Rule,
} from '../types.ts';
import { fieldValues, removeFields } from './fields.ts';
import { parseSize } from './size.ts';

/** What one request may hold in memory, and how long it may keep the others waiting: a search takes 60 ms/MiB at worst. */
const MAX_LIMIT = 16 * 1024 * 1024;
const SIZE_FAULT = 'must be a size from 1B to 16MiB, such as 1MiB';

/** Media type (RFC 9110, section 8.3.1) → what reads it; `+json`: RFC 6839, section 3.1. */
const JSON_TYPE = /^(?:application\/json|[a-z0-9!#$&^_.+-]+\/[a-z0-9!#$&^_.+-]+\+json)$/;
const FORM_TYPE = 'application/x-www-form-urlencoded';
const NAMES = { json: 'application/json', form: FORM_TYPE } as const;
const BOM = Buffer.from([0xef, 0xbb, 0xbf]);

/** Fields that describe the body's bytes as the client sent them, and the wait for it, which is over. */
const OF_RECEIVED = new Names('expect');
const OF_CHANGED = new Names('content-md5', 'digest', 'content-digest', 'repr-digest');

/** The option of a placement in a body: how large the body may be. */
export function maxBody() {
  return z
    .string(SIZE_FAULT)
    .refine(text => limitOf(text) <= MAX_LIMIT, SIZE_FAULT)
    .default('1MiB')
    .describe(
      'A body is received whole up to this size, from 1B to 16MiB (default 1MiB); a larger one is refused.',
    );
}

/** Bytes. */
export function limitOf(maxBodyOption: string): number {
  return parseSize(maxBodyOption) ?? Number.POSITIVE_INFINITY;
}

/** latin1 */
export function textOf({ content }: OutboundBody): string {
  return Buffer.isBuffer(content) ? content.toString('latin1') : content.reveal();
}

export function bytesOf({ content }: OutboundBody): Buffer {
  return Buffer.isBuffer(content) ? content : Buffer.from(content.reveal(), 'latin1');
}

export function isInBody({ placement }: Injection): boolean {
  return placement.body !== undefined;
}

/** How a body must be read, and how large it may be. Throws BodyFault if no placement of the rule can read such a one. */
export function reading(out: OutboundHead, rule: Rule): { kind: BodyKind; limit: number } {
  if (fieldValues(out, 'content-encoding').some(coding => coding.toLowerCase() !== 'identity')) {
    throw new BodyFault(
      'is compressed, so that the gate cannot look into it',
      'Send it without Content-Encoding',
    );
  }
  const places = rule.injections.flatMap(({ placement }) => placement.body ?? []);
  const kind = kindOf(fieldValues(out, 'content-type')[0] ?? '');
  const limits = places.filter(place => place.kind === kind).map(place => place.limit);
  if (kind !== undefined && limits.length > 0) return { kind, limit: Math.max(...limits) };
  const wanted = [...new Set(places.map(place => NAMES[place.kind]))].join(' or ');
  throw new BodyFault('is of a type in which this rule cannot find a credential', `Send ${wanted}, in UTF-8`);
}

/** What a body of that media type can be read as; undefined for another one, and for another charset than UTF-8. */
export function kindOf(contentType: string): BodyKind | undefined {
  const [type = '', ...parameters] = contentType.toLowerCase().split(';');
  const isUnicode = parameters.every(parameter => {
    const [name = '', value = ''] = parameter.split('=');
    return name.trim() !== 'charset' || /^(?:"utf-?8"|utf-?8)$/.test(value.trim());
  });
  if (!isUnicode) return undefined;
  if (type.trim() === FORM_TYPE) return 'form';
  return JSON_TYPE.test(type.trim()) ? 'json' : undefined;
}

/** Throws BodyFault for bytes that are not plain UTF-8: what else they may mean depends on who reads them. */
export function requireUtf8(bytes: Buffer): void {
  if (bytes.subarray(0, BOM.length).equals(BOM))
    throw new BodyFault('begins with a byte order mark', 'Send it without');
  if (!isUtf8(bytes)) throw new BodyFault('is not UTF-8', 'Send UTF-8');
}

/**
 * What follows from a body that cannot be read: only a rule that lets anything stand at its places lets it pass.
 * `stubs`: those seen in it.
 */
export function refuseUnreadable(rule: Rule, { message, hint }: BodyFault, stubs: number): void {
  const told = { message: `The body ${message}`, hint };
  if (stubs > 0) throw new Refusal('stub_misplaced', told);
  const injections = rule.injections.filter(isInBody);
  if (injections.some(injection => injection.required)) throw new Refusal('stub_missing', told);
  if (injections.some(({ when, foreign }) => when === 'always' || foreign === 'refuse')) {
    throw new Refusal('malformed_request', told);
  }
}

/** Takes out the fields that are no longer true of a body that was received whole, and may be changed. */
export function settleFields(out: OutboundHead, isChanged: boolean): void {
  removeFields(out, OF_RECEIVED);
  if (isChanged) removeFields(out, OF_CHANGED);
}
