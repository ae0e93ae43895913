import { percentDecode } from './percent.ts';

/** `key=value` pairs of a query or a form, as they stand (WHATWG URL, section 5.1). */
export function pairsOf(text: string): string[] {
  return text === '' ? [] : text.split('&');
}

/** As it stands. */
export function keyOf(pair: string): string {
  const equals = pair.indexOf('=');
  return equals < 0 ? pair : pair.slice(0, equals);
}

/** Decoded; latin1. */
export function valueOf(pair: string): string {
  const equals = pair.indexOf('=');
  return equals < 0 ? '' : decode(pair.slice(equals + 1));
}

export function isNamed(pair: string, name: string): boolean {
  return decode(keyOf(pair)) === name;
}

/** One round, as a form decoder reads it; latin1. */
function decode(text: string): string {
  return percentDecode(text.replaceAll('+', ' '));
}
