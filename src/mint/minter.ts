import type { Secret } from '../secret.ts';
import type { Principal } from '../types.ts';
import type { Post, Send } from './http.ts';

/** What one token is minted from, and with. */
export interface Material {
  /** The credential's `from`, or what replaced it since (`rotate`); empty without `from`. */
  readonly from: Secret;
  /** Further secrets, by the option that names them (`REF_KEYS`). */
  readonly further: ReadonlyMap<string, Secret>;
  /** The session's own token, if the minter needs it. */
  readonly subject: Secret | undefined;
  /** Lifetime of a token whose answer says none, ms. */
  readonly ttlMs: number;
  /** ms since the epoch */
  readonly now: number;
  readonly post: Post;
  readonly send: Send;
  /** The issuer has replaced `from`: only this one works from now on. */
  readonly rotate: (next: Secret) => void;
}

export interface Token {
  /** Its version is safe to log. */
  readonly secret: Secret;
  /** ms since the epoch */
  readonly expiresAt: number;
}

/** A way to turn a long-lived secret into a short-lived token. Holds no state. */
export interface Minter {
  /** A mint may replace `from` for the next one, so that no two may run at a time. */
  readonly rotates: boolean;
  /** It exchanges the session's own token: what it mints is for that session alone, whatever `scope` says. */
  readonly usesSubject?: boolean;
  /**
   * What of the token's request depends on the session; the empty text if nothing does. Equal texts share a token.
   * Throws VaultError if the session lacks a label that is needed.
   */
  scope(who: Principal): string;
  /** Throws VaultError; no part of a secret ever stands in it. */
  mint(scope: string, material: Material): Promise<Token>;
  /** Variables of the gate that it reads when there is no `from`: no sandbox may inherit them. */
  readonly variables?: readonly string[];
  /** Tells the issuer that a token is needed no longer; absent: it cannot be told. Throws VaultError. */
  revoke?(token: Secret, material: Revocation): Promise<void>;
}

export interface Revocation {
  readonly post: Post;
  /** A secret that a mint has, by its option; the empty text is `from`. Undefined if there is none. */
  readonly secret: (option: string) => Secret | Promise<Secret> | undefined;
}

/** A credential whose value is minted. */
export interface MintSource {
  readonly name: string;
  /** The minter's type, such as `github-app`. */
  readonly type: string;
  readonly minter: Minter;
  /** Whether there is a `from`; without, the gate's own identity is what it mints with. */
  readonly isVaulted: boolean;
  /** Equal texts: nothing about it has changed. */
  readonly id: string;
  /** Option → name in the vaults' cache, of each further secret. */
  readonly further: ReadonlyMap<string, string>;
  /** Lifetime of a token whose answer says none, ms. */
  readonly ttlMs: number;
}
