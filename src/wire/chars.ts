export const HTAB = 0x09;
export const LF = 0x0a;
export const CR = 0x0d;
export const SP = 0x20;
export const COLON = 0x3a;

/** Membership by character code, 0 to 255. */
export type CharTable = Uint8Array;

function table(isMember: (char: string, code: number) => boolean): CharTable {
  return Uint8Array.from({ length: 256 }, (_, code) => (isMember(String.fromCharCode(code), code) ? 1 : 0));
}

/** `tchar` (RFC 9110, section 5.6.2). */
export const TCHAR = table(char => /[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(char));

/** What a field value may hold: HTAB, SP, VCHAR, obs-text (RFC 9110, section 5.5). */
export const FIELD_CHAR = table((_, code) => code === HTAB || (code >= SP && code !== 0x7f));

/** Value of a hexadecimal digit; 255 for any other character. */
export const HEX = Uint8Array.from({ length: 256 }, (_, code) => {
  const char = String.fromCharCode(code);
  return /[0-9A-Fa-f]/.test(char) ? Number.parseInt(char, 16) : 255;
});

export function isToken(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (TCHAR[text.charCodeAt(i)] !== 1) return false;
  return text.length > 0;
}
