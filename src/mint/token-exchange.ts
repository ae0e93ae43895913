import { z } from 'zod';
import { define } from '../registry.ts';
import type { Secret } from '../secret.ts';
import { authenticate, clientAuthFields } from './client-auth.ts';
import { endpoint, printable, secretRef } from './fields.ts';
import { type Answer, malformed } from './http.ts';
import { claimsOf } from './jwt.ts';
import type { Material, Minter, Token } from './minter.ts';
import { secretOf, tokenOf } from './token.ts';
import { lifetime, requireGranted } from './token-answer.ts';

const GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange';
const TYPE = 'urn:ietf:params:oauth:token-type:';
/** RFC 8693, section 3, by their last words. */
const TYPES = ['access_token', 'refresh_token', 'id_token', 'jwt', 'saml1', 'saml2'];
/** What may be issued unasked: what an upstream takes as a bearer token. */
const USABLE = ['access_token', 'id_token', 'jwt'].map(type => TYPE + type);
const MAX_ACTORS = 8;
const MAX_NOTE = 256;

const tokenType = () =>
  z
    .string()
    .refine(
      text => TYPES.includes(text) || /^(?:urn:|https:\/\/)[\x21-\x7e]{1,200}$/.test(text),
      `is not a type of token; write one of ${TYPES.join(', ')}, or a URI`,
    );
const several = (example: string) => z.union([printable(example), z.array(printable(example)).min(1)]);

const schema = z
  .strictObject({
    token_url: endpoint().describe('Token endpoint of the authorization server.'),
    subject: z
      .literal('session', "is not valid; write session, or leave it out for the subject's token in `from`")
      .optional()
      .describe(
        '`session`: exchanges the JWT that opened the session, or the token that it was created with; instead of `from`.',
      ),
    subject_token_type: tokenType()
      .optional()
      .describe(
        'What the subject’s token is: access_token (default), jwt (default with `subject: session`), id_token, or a URI.',
      ),
    actor_token: secretRef()
      .optional()
      .describe('Where the token of who acts is, `<vault>:<id>`: then the subject delegates to it.'),
    actor_token_type: tokenType().optional().describe('What `actor_token` is.'),
    requested_token_type: tokenType()
      .refine(
        text => !/refresh_token|saml/.test(text),
        'is no token that can be injected; write access_token or jwt',
      )
      .optional()
      .describe('What is asked for, and nothing else taken; default: what the server gives.'),
    audience: several('https://api.example.com')
      .optional()
      .describe('Whom the token is for; one, or a list.'),
    resource: several('https://api.example.com/v1')
      .optional()
      .describe('URI of what it is for; one, or a list.'),
    scope: printable('"repo user"').optional().describe('Scopes, separated by spaces.'),
    client_id: printable('my-client').optional().describe('Who asks, if the server wants to know.'),
    client_secret: secretRef()
      .optional()
      .describe('Where the client secret is, or its private key: `<vault>:<id>`.'),
    ...clientAuthFields,
  })
  .refine(
    ({ actor_token: token, actor_token_type: type }) => (token === undefined) === (type === undefined),
    {
      path: ['actor_token_type'],
      message: 'belongs to `actor_token` (RFC 8693, section 2.1); write both, or none',
    },
  )
  .refine(({ client_secret: secret, client_id: id }) => secret === undefined || id !== undefined, {
    path: ['client_id'],
    message: 'is missing; `client_secret` needs it',
  });

/** A token in exchange for another one (RFC 8693). */
class TokenExchange implements Minter {
  readonly rotates = false;
  readonly usesSubject: boolean;
  readonly #options: z.output<typeof schema>;
  readonly #url: URL;

  constructor(options: z.output<typeof schema>) {
    this.#options = options;
    this.#url = new URL(options.token_url);
    this.usesSubject = options.subject === 'session';
  }

  /** Nothing else of a session is sent than its own token. */
  scope(): string {
    return '';
  }

  async mint(_: string, material: Material): Promise<Token> {
    const { further, now, ttlMs, post } = material;
    const form = this.#request(material);
    const headers = this.#authenticate(further.get('client_secret'), form, now);
    const answer = await post(this.#url, headers, form.toString());
    this.#requireDone(answer);
    const { access_token: token, expires_in: seconds } = answer.body;
    const note = actorsOf(secretOf(this.#url, 'access_token', token), material);
    return tokenOf(this.#url, 'access_token', token, now + lifetime(this.#url, seconds, ttlMs), now, note);
  }

  #request({ from, subject, further }: Material): URLSearchParams {
    const usual = this.usesSubject ? 'jwt' : 'access_token';
    const { subject_token_type = usual, actor_token_type, requested_token_type, scope } = this.#options;
    const form = new URLSearchParams({
      grant_type: GRANT,
      subject_token: (subject ?? from).reveal(),
      subject_token_type: uri(subject_token_type),
    });
    const actor = further.get('actor_token');
    if (actor && actor_token_type !== undefined) {
      form.set('actor_token', actor.reveal());
      form.set('actor_token_type', uri(actor_token_type));
    }
    if (requested_token_type !== undefined) form.set('requested_token_type', uri(requested_token_type));
    for (const key of ['audience', 'resource'] as const)
      for (const value of [this.#options[key] ?? []].flat()) form.append(key, value);
    if (scope !== undefined) form.set('scope', scope);
    return form;
  }

  #authenticate(secret: Secret | undefined, form: URLSearchParams, now: number): Record<string, string> {
    const { client_id: id } = this.#options;
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    if (id === undefined) return headers;
    if (secret)
      return {
        ...headers,
        ...authenticate(this.#url, { ...this.#options, client_id: id }, secret, form, now),
      };
    form.set('client_id', id);
    return headers;
  }

  /** RFC 8693, section 2.2.1: both types are required. */
  #requireDone(answer: Answer): void {
    requireGranted(this.#url, answer);
    const { issued_token_type: issued, token_type: type } = answer.body;
    const { requested_token_type: asked } = this.#options;
    const isRight = asked === undefined ? USABLE.includes(issued as string) : issued === uri(asked);
    if (!isRight) throw malformed(this.#url, 'holds a token of another type than was asked for');
    // What proves possession of a key is worth nothing by itself.
    if (typeof type !== 'string' || !/^(?:bearer|n_a)$/i.test(type))
      throw malformed(this.#url, 'holds a token of another type than Bearer or N_A');
  }
}

function uri(type: string): string {
  return TYPES.includes(type) ? TYPE + type : type;
}

/**
 * Who acts, and for whom that one acts, for the audit; empty if nobody is named. A token that cannot be read was asked
 * for by the actor of `actor_token`, behind those of the subject's token.
 */
function actorsOf(issued: Secret, { from, subject = from, further }: Material): string {
  const actor = further.get('actor_token');
  const isReadable = Object.keys(claimsOf(issued.reveal())).length > 0;
  const asked = [...(actor ? [nameIn(claimsOf(actor.reveal()))] : []), ...chainIn(subject)];
  const names = (isReadable ? chainIn(issued) : asked).slice(0, MAX_ACTORS);
  const note = names.length === 0 ? '' : `, act ${names.join(' < ')}`;
  const secrets = [from, subject, ...further.values()].filter(({ length }) => length > 0);
  const isSafe = secrets.every(secret => !note.includes(secret.reveal()));
  return isSafe ? note.slice(0, MAX_NOTE) : '';
}

/** The actors in a JWT, the present one first (`act`, RFC 8693, section 4.1). */
function chainIn(token: Secret): string[] {
  const names: string[] = [];
  let { act } = claimsOf(token.reveal());
  while (typeof act === 'object' && act !== null && names.length < MAX_ACTORS) {
    names.push(nameIn(act));
    ({ act } = act as { act?: unknown });
  }
  return names;
}

function nameIn({ sub }: { readonly sub?: unknown }): string {
  return typeof sub === 'string' && /^[\x21-\x7e]{1,128}$/.test(sub) ? sub : '?';
}

export const tokenExchange = define({
  type: 'token-exchange',
  summary:
    'Token exchange (RFC 8693); `from`, or with `subject: session` the session’s own token, is the subject’s',
  schema,
  build: (options): Minter => new TokenExchange(options),
});
