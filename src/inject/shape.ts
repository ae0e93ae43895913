/**
 * What a stub looks like, so that clients that check a token's form accept it.
 * Literals and lengths of random base62 parts, in order.
 */
export interface Shape {
  /** As configured. */
  readonly text: string;
  readonly parts: readonly (string | number)[];
}

/** Random characters that one part must have at least: a stub's authenticated tag stands there. */
export const TAG_LENGTH = 20;
const MAX_LENGTH = 512;

/** Named shapes, after the tokens that each vendor issues. */
export const SHAPES = {
  generic: 'sgs_{40}',
  'github-pat': 'ghp_{36}',
  'github-oauth': 'gho_{36}',
  'github-app': 'ghs_{36}',
  'github-fine-grained': 'github_pat_{22}_{59}',
  'gitlab-pat': 'glpat-{20}',
  openai: 'sk-proj-{74}T3BlbkFJ{74}',
  anthropic: 'sk-ant-api03-{93}AA',
  huggingface: 'hf_{34}',
  'google-api-key': 'AIza{35}',
  'slack-bot': 'xoxb-000000000000-0000000000000-{24}',
  stripe: 'sk_live_{99}',
  'telegram-bot': '0000000000:AA{33}',
  npm: 'npm_{36}',
  pypi: 'pypi-AgEIcHlwaS5vcmc{140}',
  // A secret access key; its access key id, and a session token, are made of it.
  aws: '{40}',
  'aws-session': '{40}',
} as const satisfies Record<string, string>;

export const DEFAULT_SHAPE = 'generic';
/** Those that can sign for `aws-sigv4`; the second one has a session token, for clients that insist on one. */
export const AWS_SHAPES = ['aws', 'aws-session'] as const;

export function isAwsShape(shape: unknown): boolean {
  return AWS_SHAPES.some(name => name === shape);
}

/** A shape from its name or its template, such as `sk-proj-{48}`; throws Error that says what to write instead. */
export function parseShape(text: string): Shape {
  const template = Object.hasOwn(SHAPES, text) ? SHAPES[text as keyof typeof SHAPES] : text;
  const parts = template
    .split(/(\{[^{}]*\})/)
    .filter(part => part !== '')
    .map(part => parsePart(part, text));
  const lengths = parts.filter(part => typeof part === 'number');
  if (lengths.length === 0) {
    const names = Object.keys(SHAPES).join(', ');
    throw new Error(`unknown shape "${text}"; write one of ${names}, or a template such as "sk-{48}"`);
  }
  if (Math.max(...lengths) < TAG_LENGTH) {
    throw new Error(`shape "${text}" has too little room; write one part of {${TAG_LENGTH}} or more`);
  }
  const total = parts.reduce<number>((sum, part) => sum + (typeof part === 'number' ? part : part.length), 0);
  if (total > MAX_LENGTH) {
    throw new Error(`shape "${text}" is ${total} characters long; write one of at most ${MAX_LENGTH}`);
  }
  return { text, parts };
}

function parsePart(part: string, shape: string): string | number {
  const length = /^\{([1-9]\d{0,3})\}$/.exec(part)?.[1];
  if (length !== undefined) return Number(length);
  // URL-safe, so that a stub is spelled alike in a header, a query and a path; a colon, which some clients look for, may
  // be percent-encoded there, and its placement reads it either way.
  if (/^[A-Za-z0-9_.~:-]+$/.test(part)) return part;
  throw new Error(
    `shape "${shape}": cannot read "${part}"; write {n} for n random characters, else only A-Z a-z 0-9 _ . ~ : -`,
  );
}
