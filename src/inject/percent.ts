import { Refusal } from '../errors.ts';
import type { Secret } from '../secret.ts';

/** One round of percent-decoding to latin1; what is not `%` and two hexadecimal digits stays as it is. */
export function percentDecode(text: string): string {
  let decoded = '';
  let from = 0;
  for (let at = text.indexOf('%'); at >= 0; at = text.indexOf('%', at + 1)) {
    const high = digit(text.charCodeAt(at + 1));
    const low = digit(text.charCodeAt(at + 2));
    if (high < 0 || low < 0) continue;
    decoded += text.slice(from, at) + String.fromCharCode(high * 16 + low);
    from = at + 3;
    at += 2;
  }
  return from === 0 ? text : decoded + text.slice(from);
}

/** Value of a hexadecimal digit; -1 for anything else. */
function digit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const letter = code | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

/** The secret with all but letters, digits and `-_.!~*'()` percent-encoded as UTF-8. */
export function percentEncoded(secret: Secret): string {
  try {
    return encodeURIComponent(secret.reveal());
  } catch {
    throw new Refusal('credential_unavailable', {
      cause: new Error(`credential "${secret.name}" is not well-formed Unicode: store it again`),
    });
  }
}

/** The same, if it is not the secret itself. */
export function percentWires(secret: Secret): readonly Secret[] {
  if (!secret.reveal().isWellFormed()) return [];
  const wire = secret.as(percentEncoded(secret));
  return wire.equals(secret) ? [] : [wire];
}
