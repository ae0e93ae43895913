import { z } from 'zod';
import { define } from '../registry.ts';
import type { Secret } from '../secret.ts';
import { type Principal, VaultError } from '../types.ts';
import { endpoint } from './fields.ts';
import { malformed, refused } from './http.ts';
import { BACKDATED_S, signJwt } from './jwt.ts';
import type { Material, Minter, Revocation, Token } from './minter.ts';
import { tokenOf } from './token.ts';

/** The answer allows 10 minutes from its own clock's view. s */
const JWT_LIFE_S = 9 * 60;
const LABEL = /\{label\.([A-Za-z0-9][A-Za-z0-9_./-]{0,62})\}/g;
const REPOSITORY = /^[A-Za-z0-9_.-]{1,100}$/;

const schema = z.strictObject({
  app_id: z
    .union([z.number().int().positive(), z.string().regex(/^[A-Za-z0-9._-]{1,64}$/)], {
      error: 'is not valid; write the App ID (a number) or the client ID of the GitHub App',
    })
    .describe('App ID or client ID of the GitHub App.'),
  installation_id: z
    .number()
    .int()
    .positive()
    .describe('Number of the installation whose repositories are used.'),
  repositories: z
    .array(
      z
        .string()
        .refine(
          isRepository,
          'is not valid; write the name of a repository without its owner, or "{label.NAME}" for a label of the session',
        ),
    )
    .min(1, 'is empty; leave it out for every repository of the installation')
    .optional()
    .describe(
      'Names without the owner, all that the token may reach; `"{label.NAME}"` stands for a label of the session, which then gets a token of its own. Default: every repository of the installation.',
    ),
  permissions: z
    .record(z.string().regex(/^[a-z_]{1,64}$/), z.enum(['read', 'write', 'admin']))
    .refine(
      named => Object.keys(named).length > 0,
      'is empty; write what the token may do, such as { contents: read }',
    )
    .describe('What the token may do, such as `{ contents: read }`.'),
  api: endpoint().default('https://api.github.com').describe('Default https://api.github.com.'),
});

/** An installation access token: docs.github.com/rest/apps/apps#create-an-installation-access-token-for-an-app */
class GithubApp implements Minter {
  readonly rotates = false;
  readonly #options: z.output<typeof schema>;
  readonly #url: URL;
  readonly #revocation: URL;

  constructor(options: z.output<typeof schema>) {
    this.#options = options;
    const api = options.api.replace(/\/+$/, '');
    this.#url = new URL(`${api}/app/installations/${options.installation_id}/access_tokens`);
    this.#revocation = new URL(`${api}/installation/token`);
  }

  scope(who: Principal): string {
    const { repositories = [] } = this.#options;
    if (!repositories.some(text => text.includes('{'))) return '';
    return JSON.stringify(repositories.map(text => named(text, who)));
  }

  async mint(scope: string, { from, now, post }: Material): Promise<Token> {
    const { app_id: issuer, repositories, permissions } = this.#options;
    const chosen = scope === '' ? repositories : (JSON.parse(scope) as string[]);
    const seconds = Math.floor(now / 1000);
    const jwt = signJwt(from, { iat: seconds - BACKDATED_S, exp: seconds + JWT_LIFE_S, iss: String(issuer) });
    const { status, body } = await post(
      this.#url,
      {
        authorization: `Bearer ${jwt}`,
        accept: 'application/vnd.github+json',
        'content-type': 'application/json',
        'x-github-api-version': '2022-11-28',
      },
      JSON.stringify({ permissions, ...(chosen && { repositories: chosen }) }),
    );
    if (status !== 201 && status !== 200) throw refused(this.#url, status);
    if (chosen && (body['repository_selection'] ?? 'selected') !== 'selected')
      throw malformed(this.#url, 'holds a token for other repositories than were asked for');
    const expiresAt = body['expires_at'];
    if (typeof expiresAt !== 'string' || Number.isNaN(Date.parse(expiresAt)))
      throw malformed(this.#url, 'has no "expires_at"');
    return tokenOf(this.#url, 'token', body['token'], Date.parse(expiresAt), now);
  }

  /** docs.github.com/rest/apps/installations#revoke-an-installation-access-token */
  async revoke(token: Secret, { post }: Revocation): Promise<void> {
    const headers = {
      authorization: `Bearer ${token.reveal()}`,
      accept: 'application/vnd.github+json',
      'x-github-api-version': '2022-11-28',
    };
    const { status } = await post(this.#revocation, headers, '', 'revoke by DELETE');
    // 401: it has ended already.
    if (status !== 204 && status !== 401) throw refused(this.#revocation, status);
  }
}

/** Whether a text can become the name of a repository. */
function isRepository(text: string): boolean {
  return REPOSITORY.test(text.replaceAll(LABEL, 'x'));
}

/** A repository with the session's labels in their places. */
function named(text: string, { labels }: Principal): string {
  const name = text.replaceAll(LABEL, (_, label: string) => {
    const value = Object.hasOwn(labels, label) ? labels[label] : undefined;
    if (value !== undefined) return value;
    throw new VaultError(
      'missing',
      `the session has no label "${label}", which names its repository; create it with one`,
    );
  });
  if (REPOSITORY.test(name) && name !== '.' && name !== '..') return name;
  throw new VaultError(
    'missing',
    `the session's labels give no name of a repository for ${text}; write it without the owner`,
  );
}

export const githubApp = define({
  type: 'github-app',
  summary: 'Installation access token of a GitHub App; `from` is its private key in PEM',
  schema,
  build: (options): Minter => new GithubApp(options),
});
