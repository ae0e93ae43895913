/** Text for a terminal: controls, and marks of direction, which could change what it shows, as escapes. */
export const printable = (text: string): string =>
  text.replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    char => `\\u{${(char.codePointAt(0) as number).toString(16)}}`,
  );
