export { type Coding, codings, decodeBody, decodeWhole } from './codings.ts';
export { Patterns } from './patterns.ts';
export { detector, Scrubber } from './scrubber.ts';
export { MIN_SECRET_BYTES, tooShort } from './spelling.ts';
