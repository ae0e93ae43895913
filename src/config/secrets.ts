import { NAME } from './scalars.ts';

/** Beginnings by which vendors make their tokens recognisable, and the least that must follow. */
const KNOWN_TOKENS =
  /(?<![A-Za-z0-9_-])(?:(?:gh[opsur]_|github_pat_|glpat-|sk-|sk_live_|rk_live_|xox[abeoprs]-|npm_|pypi-|hf_|hvs\.|hvb\.|dop_v1_|SG\.|ya29\.|AIza|whsec_|shp(?:at|ss)_|eyJ[A-Za-z0-9_-]+\.)[A-Za-z0-9_.-]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16})(?![A-Za-z0-9{])|-----BEGIN [A-Z ]*PRIVATE KEY-----|:\/\/[^/\s:@<>${}]+:[^/\s@<>${}]+@/g;
const RANDOM_RUN = /[A-Za-z0-9+=]{20,}/g;
/** Distinct characters that random text of that length has, and `xxxxxxxx` and `example` have not. */
const LEAST_DISTINCT = 9;

/** Offsets at which a text holds what looks like a secret: a vendor's token, a private key, a URL with a password. */
export function findSecrets(text: string): number[] {
  return [...text.matchAll(KNOWN_TOKENS)].filter(([token]) => isVaried(token)).map(match => match.index);
}

/** Whether a text may be a secret, not the name of something: also long runs of letters mixed with digits. */
export function looksSecret(text: string): boolean {
  if (findSecrets(text).length > 0) return true;
  return (text.match(RANDOM_RUN) ?? []).some(run => /\d/.test(run) && /[A-Za-z]/.test(run) && isVaried(run));
}

/** Whether a text from the file may stand in an error: a plain name, not something that may be a secret. */
export function isShowable(text: string): boolean {
  return NAME.test(text) && !looksSecret(text);
}

function isVaried(text: string): boolean {
  return text.startsWith('-----') || text.startsWith('://') || new Set(text).size >= LEAST_DISTINCT;
}
