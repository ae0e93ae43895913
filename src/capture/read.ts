import { get, isNamed } from '../fields.ts';
import { kindOf, requireUtf8 } from '../inject/body.ts';
import { locate } from '../inject/json-text.ts';
import { isNamed as isPairNamed, pairsOf, valueOf } from '../inject/pairs.ts';
import {
  type AnswerKind,
  BodyFault,
  type Capture,
  type Handout,
  type RawHeaders,
  type ReadAnswer,
} from '../types.ts';

const XML_TYPE = /^(?:text|application)\/xml *(?:; *charset="?utf-8"? *)?$/i;
/** Of AWS's JSON protocol. */
const AWS_JSON_TYPE = /^application\/x-amz-json-1\.[01] *$/i;
/** What can be looked for, and can stand in a header field: long enough, no space, no control. */
const VALUE = /^[\x21-\x7e]{8,8192}$/;

export interface Found {
  readonly capture: Capture;
  readonly handout: Handout;
}

/**
 * What an answer hands out at the declared places. Throws BodyFault for one that cannot be read, or of which it cannot be
 * told that it hands out nothing: an error does not, nor does an empty body.
 */
export function handouts(captures: readonly Capture[], answer: ReadAnswer, status: number): Found[] {
  const quiet = quietInHead(captures);
  const found = quiet.flatMap(capture => foundAt(capture, answer));
  const others = captures.filter(capture => !quiet.includes(capture));
  return others.length === 0 ? found : [...found, ...demanded(others, answer, status)];
}

/** Those whose answers are no less whole without them, and need not be received whole for them. */
export function quietInHead(captures: readonly Capture[]): readonly Capture[] {
  return captures.filter(({ place }) => place.isQuiet && place.body === undefined);
}

function demanded(captures: readonly Capture[], answer: ReadAnswer, status: number): Found[] {
  const inHead = captures.filter(({ place }) => place.body === undefined);
  const found = inHead.flatMap(capture => foundAt(capture, answer));
  const kind = answerKind(answer.headers);
  const inBody = captures.filter(({ place }) => kind !== undefined && place.body?.includes(kind));
  const isError = status >= 400;
  if (answer.body.length === 0) {
    // The address that a redirect leads to may hold anything.
    if (found.length === 0 && status >= 300 && status !== 304 && !isError)
      throw new BodyFault('is a redirect, and hands out nothing where the rule says', '');
    return found;
  }
  if (inBody.length === 0) {
    if (isError || (found.length > 0 && inHead.length === captures.length)) return found;
    throw new BodyFault('is of a type in which the rule captures nothing', '');
  }
  requireUtf8(answer.body);
  found.push(...inBody.flatMap(capture => foundAt(capture, answer)));
  const isNothing = found.length === 0 && !isError && !inBody.some(({ place }) => place.isQuiet);
  if (isNothing && !saysError(kind, answer.body))
    throw new BodyFault('is no error, and hands out nothing where the rule says', '');
  return found;
}

function foundAt(capture: Capture, answer: ReadAnswer): Found[] {
  const handout = capture.place.find(answer);
  if (!handout) return [];
  if (!handout.spots.every(({ text }) => VALUE.test(text)))
    throw new BodyFault(`holds no 8 to 8192 printable ASCII characters at ${capture.place.slot}`, '');
  return [{ capture, handout }];
}

/** Undefined for a type that no place is in; throws BodyFault if there are several. */
function answerKind(headers: RawHeaders): AnswerKind | undefined {
  const names = headers.filter((name, i) => i % 2 === 0 && isNamed(name, 'content-type'));
  if (names.length > 1) throw new BodyFault('has several types', '');
  const type = get(headers, 'content-type') ?? '';
  if (XML_TYPE.test(type)) return 'xml';
  return AWS_JSON_TYPE.test(type) ? 'json' : kindOf(type);
}

/** An OAuth error (RFC 6749, section 5.2; RFC 8628, section 3.5), which some send with 200. */
function saysError(kind: AnswerKind | undefined, body: Buffer): boolean {
  if (kind === 'form')
    return pairsOf(body.toString('latin1')).some(pair => isPairNamed(pair, 'error') && valueOf(pair) !== '');
  if (kind !== 'json') return false;
  const place = locate(body, ['error']);
  return place !== undefined && /^"[^"]/.test(body.toString('utf8', place.start, place.end));
}

/** The answer with stubs in the place of what it handed out. `stub`: of each. */
export function replaced(
  { headers, body }: ReadAnswer,
  found: readonly (readonly [Handout, stub: string])[],
  ids: Parameters<Handout['spots'][number]['write']>[1],
): ReadAnswer {
  const written = found.flatMap(([{ spots }, stub]) =>
    spots.map(spot => ({ ...spot, written: spot.write(stub, ids) })),
  );
  const fields = [...headers];
  for (const spot of written) if (spot.in === 'headers') fields[spot.start] = spot.written;
  const pieces: Buffer[] = [];
  let from = 0;
  const inBody = written.filter(spot => spot.in === 'body').toSorted((a, b) => a.start - b.start);
  for (const { start, end, written: text } of inBody) {
    pieces.push(body.subarray(from, start), Buffer.from(text));
    from = end;
  }
  return { headers: fields, body: Buffer.concat([...pieces, body.subarray(from)]) };
}
