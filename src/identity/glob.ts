/** Whether a claim's text falls under a glob. */
export type ClaimGlob = (text: string) => boolean;

/** Texts and globs that are longer match nothing: a match takes up to (length × length) steps. */
export const MAX_TEXT = 1024;

/** What ends a part of a claim: `spiffe://td/ns/ci`, `repo:acme/web:ref:refs/heads/main`, `O=Acme,CN=ci`. */
const ENDS_PART = new Set(['/', ':', ',']);

/** `*`: one or more characters of one part; `**`: one or more of any. All else is literal and case-sensitive. */
export function compileClaimGlob(glob: string): ClaimGlob {
  if (!glob.includes('*')) return text => text === glob;
  const tokens = glob.match(/\*\*|\*|[^*]/gsu) ?? [];
  return text => text.length <= MAX_TEXT && matches(tokens, text);
}

/** All ways at once, so that no glob takes long: `reached[i]`: the first `i` tokens may end here. */
function matches(tokens: readonly string[], text: string): boolean {
  let reached: boolean[] = tokens.map(() => false);
  reached.unshift(true);
  for (const char of text) {
    const next: boolean[] = reached.map(() => false);
    for (const [i, token] of tokens.entries()) {
      const fits = token === '**' || (token === '*' ? !ENDS_PART.has(char) : token === char);
      const stays = token.startsWith('*') && reached[i + 1];
      if (fits && (reached[i] || stays)) next[i + 1] = true;
    }
    reached = next;
  }
  return reached[tokens.length] === true;
}
