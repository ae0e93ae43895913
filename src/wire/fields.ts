import { Refusal } from '../errors.ts';
import { COLON, CR, FIELD_CHAR, HTAB, LF, SP, TCHAR } from './chars.ts';
import { fault, type Side } from './fault.ts';

/**
 * Field lines (RFC 9112, section 5), from `at` to the end of `text`, each ended by CRLF: name, value, name, value, …
 * in wire order and case, values without surrounding white space.
 */
export function parseFields(text: string, at: number, max: number, side: Side): string[] {
  const fields: string[] = [];
  for (let name = at; name < text.length; ) {
    let colon = name;
    while (TCHAR[text.charCodeAt(colon)] === 1) colon++;
    if (colon === name || text.charCodeAt(colon) !== COLON) throw badName(text, name, colon, side);
    let value = colon + 1;
    while (isSpace(text.charCodeAt(value))) value++;
    let end = value;
    while (FIELD_CHAR[text.charCodeAt(end)] === 1) end++;
    if (text.charCodeAt(end) !== CR || text.charCodeAt(end + 1) !== LF) throw badValue(text, end, side);
    let last = end;
    while (last > value && text.charCodeAt(last - 1) === SP) last--;
    // llhttp does not take `chunked` and a tab for chunked.
    if (last > value && text.charCodeAt(last - 1) === HTAB)
      throw fault(side, 'A header value ends with a tab');
    fields.push(text.slice(name, colon), text.slice(value, last));
    name = end + 2;
  }
  if (fields.length > 2 * max) throw tooMany(side);
  return fields;
}

function isSpace(code: number): boolean {
  return code === SP || code === HTAB;
}

function tooMany(side: Side): Refusal {
  return side === 'malformed_request'
    ? new Refusal('head_too_large', { message: 'The request has too many headers' })
    : fault(side, 'The response has too many headers');
}

function badName(text: string, start: number, at: number, side: Side): Refusal {
  const isFirst = at === start;
  const space = isSpace(text.charCodeAt(at));
  if (isFirst && space) return fault(side, 'A header line starts with white space (obsolete line folding)');
  if (space) return fault(side, 'White space before the colon of a header');
  if (isFirst && text.charCodeAt(at) === COLON) return fault(side, 'A header without a name');
  if (text.charCodeAt(at) === CR) return fault(side, 'A header line without a colon');
  return fault(side, 'A header name holds a character that is not allowed');
}

function badValue(text: string, at: number, side: Side): Refusal {
  const code = text.charCodeAt(at);
  if (code === CR) return fault(side, 'A bare CR in a header');
  if (code === LF) return fault(side, 'A line that ends with a bare LF');
  return fault(side, 'A header value holds a control character');
}
