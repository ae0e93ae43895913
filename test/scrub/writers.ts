/** Ways to write a text, each independent of the code under test. */
export type Writer = (text: string) => Buffer;

const codeUnits = (text: string): number[] =>
  Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));
const hex = (n: number, digits: number): string => n.toString(16).padStart(digits, '0');
const escapedAll = (each: (unit: number) => string) => (text: string) => codeUnits(text).map(each).join('');

export const json = (text: string): string => JSON.stringify(text).slice(1, -1);
export const slashedJson = (text: string): string => json(text).replaceAll('/', '\\/');
export const asciiJson = (text: string): string =>
  json(text).replaceAll(/[^\x20-\x7e]/g, c => `\\u${hex(c.charCodeAt(0), 4)}`);
export const unicodeAll = escapedAll(unit => `\\u${hex(unit, 4)}`);
export const hexEscapes = (text: string): string =>
  [...Buffer.from(text)].map(byte => `\\x${hex(byte, 2)}`).join('');
export const percentAll = (text: string): string =>
  [...Buffer.from(text)].map(byte => `%${hex(byte, 2)}`).join('');
export const percentUpper = (text: string): string => percentAll(text).toUpperCase();
export const html = (text: string): string =>
  text.replaceAll(
    /[&<>"'/+=]/g,
    c =>
      ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', '/': '&sol;' })[c] ?? `&#${c.charCodeAt(0)};`,
  );
export const htmlDecimal = (text: string): string =>
  Array.from(text, c => `&#0${c.codePointAt(0)};`).join('');
export const htmlHex = (text: string): string =>
  Array.from(text, c => `&#x${hex(c.codePointAt(0) ?? 0, 5)};`).join('');
export const base64 = (text: string): string => Buffer.from(text).toString('base64');

const written =
  (write: (text: string) => string): Writer =>
  text =>
    Buffer.from(write(text));

/** What a secret looks like when it comes back, by the name of the spelling. */
export const WRITERS: Readonly<Record<string, Writer>> = {
  raw: written(text => text),
  'base64, first alignment': written(base64),
  'base64, second alignment': written(text => base64(`u${text}`)),
  'base64, third alignment': written(text => base64(`us${text}!`)),
  'base64 of Basic credentials': written(text => `Basic ${base64(`x-access-token:${text}`)}`),
  base64url: written(text => Buffer.from(`user:${text}.`).toString('base64url')),
  'hex, lower case': written(text => Buffer.from(text).toString('hex')),
  'hex, upper case': written(text => Buffer.from(text).toString('hex').toUpperCase()),
  'hex, mixed case': written(text =>
    Buffer.from(text)
      .toString('hex')
      .replaceAll(/([a-f])(.)/g, (_, a: string, b: string) => a.toUpperCase() + b),
  ),
  'UTF-16LE': text => Buffer.from(text, 'utf16le'),
  'UTF-16BE': text => Buffer.from(text, 'utf16le').swap16(),
  'percent, where needed': written(encodeURIComponent),
  'percent, every byte, lower case': written(percentAll),
  'percent, every byte, upper case': written(percentUpper),
  'percent, twice': written(text => encodeURIComponent(encodeURIComponent(text))),
  'percent, every byte, twice': written(text => percentAll(percentAll(text))),
  'form, with plus': written(text => new URLSearchParams({ '': text }).toString().slice(1)),
  JSON: written(json),
  'JSON with escaped slashes': written(slashedJson),
  'JSON in ASCII': written(asciiJson),
  'JSON in JSON': written(text => json(json(text))),
  'JSON in ASCII, in JSON': written(text => json(asciiJson(text))),
  'JSON, each character escaped': written(unicodeAll),
  'JSON, each character escaped, twice': written(text => json(unicodeAll(text))),
  'hex escapes': written(hexEscapes),
  HTML: written(html),
  'HTML, decimal': written(htmlDecimal),
  'HTML, hex': written(htmlHex),
  'HTML in HTML': written(text => html(html(text))),
  'HTML in JSON': written(text => asciiJson(htmlHex(text)).replaceAll('&', '\\u0026')),
  'percent in JSON': written(text => unicodeAll(encodeURIComponent(text))),
  'base64 in JSON with escaped slashes': written(text => slashedJson(base64(`u:${text}`))),
  'base64, percent-encoded': written(text => encodeURIComponent(base64(`us:${text}?`))),
  'base64 in HTML': written(text => html(base64(`${text}??>>`))),
};
