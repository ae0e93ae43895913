import { z } from 'zod';
import { define } from '../registry.ts';
import type { Secret } from '../secret.ts';
import { VaultError } from '../types.ts';
import { endpoint, printable } from './fields.ts';
import { malformed } from './http.ts';
import { BACKDATED_S, claimsOf, signJwt } from './jwt.ts';
import type { Material, Minter, Token } from './minter.ts';
import { secretOf, tokenOf } from './token.ts';
import { requireGranted } from './token-answer.ts';

const ASSERTION_LIFE_S = 9 * 60;

const schema = z.strictObject({
  audience: printable('https://my-service-abc.a.run.app').describe('Whom the token is for.'),
  token_url: endpoint()
    .default('https://oauth2.googleapis.com/token')
    .describe('Token endpoint; default that of Google.'),
});

/** An identity token of a Google service account (developers.google.com/identity/protocols/oauth2/service-account). */
class GcpIdToken implements Minter {
  readonly rotates = false;
  readonly #audience: string;
  readonly #url: URL;

  constructor(options: z.output<typeof schema>) {
    this.#audience = options.audience;
    this.#url = new URL(options.token_url);
  }

  scope(): string {
    return '';
  }

  async mint(_: string, { from, now, post }: Material): Promise<Token> {
    const form = new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
      assertion: this.#assertion(from, now),
    });
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const answer = await post(this.#url, headers, form.toString());
    requireGranted(this.#url, answer);
    const { id_token: token } = answer.body;
    const { aud, exp } = claimsOf(secretOf(this.#url, 'id_token', token).reveal());
    if (aud !== this.#audience || typeof exp !== 'number')
      throw malformed(this.#url, 'holds no identity token for the audience');
    return tokenOf(this.#url, 'id_token', token, exp * 1000, now);
  }

  /** Where it is sent is the configuration's word, not that of the key's file. */
  #assertion(from: Secret, now: number): string {
    const { client_email: email, private_key: key, private_key_id: id } = keyOf(from);
    const seconds = Math.floor(now / 1000);
    const claims = {
      iss: email,
      sub: email,
      aud: this.#url.href,
      target_audience: this.#audience,
      iat: seconds - BACKDATED_S,
      exp: seconds + ASSERTION_LIFE_S,
    };
    return signJwt(from.as(key), claims, id === undefined ? {} : { kid: id });
  }
}

interface Key {
  readonly client_email: string;
  readonly private_key: string;
  readonly private_key_id?: string;
}

const keySchema = z.object({
  client_email: z.string().min(1),
  private_key: z.string().min(1),
  private_key_id: z.string().exactOptional(),
});

function keyOf(from: Secret): Key {
  let json: unknown;
  try {
    json = JSON.parse(from.reveal());
  } catch {
    // Its error quotes the text.
  }
  const { data } = keySchema.safeParse(json);
  if (data) return data;
  throw new VaultError(
    'missing',
    `${from.name} holds no key of a service account; store the whole JSON file that Google gave, and name no field of it`,
  );
}

export const gcpIdToken = define({
  type: 'gcp-id-token',
  summary: 'Identity token of a Google service account; `from` is its key file, the whole JSON',
  schema,
  build: (options): Minter => new GcpIdToken(options),
});
