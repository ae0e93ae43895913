import { BodyFault } from '../types.ts';

/** RFC 3339, as AWS writes it. */
const TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/;
/** No time in seconds is as large for 3,000 years. */
const IN_MS = 100_000_000_000;

/** ms; a number of seconds, or a text that is one (RFC 6749, section 5.1). Undefined: nothing is told. Throws BodyFault. */
export function lifeOf(seconds: unknown, where: string): number | undefined {
  if (seconds === undefined || seconds === null || seconds === '') return undefined;
  const isNumber = typeof seconds === 'number' || (typeof seconds === 'string' && /^\d{1,10}$/.test(seconds));
  const number = Number(seconds);
  if (isNumber && number >= 0 && number < 1e10) return Math.floor(number * 1000);
  throw new BodyFault(`holds no number of seconds at ${where}`, '');
}

/** ms from now until a point in time: RFC 3339, or seconds or milliseconds since the epoch. Throws BodyFault. */
export function lifeUntil(time: unknown): number | undefined {
  if (time === undefined || time === null || time === '') return undefined;
  const isText = typeof time === 'string' && TIMESTAMP.test(time);
  const number = isText ? Date.parse(time) : typeof time === 'number' ? time : Number.NaN;
  if (!(number >= 0)) throw new BodyFault('holds an Expiration that cannot be read', '');
  const at = isText || number > IN_MS ? number : number * 1000;
  return Math.max(0, Math.floor(at) - Date.now());
}
