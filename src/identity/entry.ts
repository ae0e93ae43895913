import type { ClaimGlob } from './glob.ts';

/** Where a claim is: its name, or for what lies deeper a JSON Pointer (RFC 6901). */
export type ClaimPath = string;

/** Whom an entry of `identity` takes, and what their sessions are. */
interface Entry {
  /** All of them, and of each one glob; empty: whoever the issuer vouches for. */
  readonly match: readonly { readonly claim: ClaimPath; readonly globs: readonly ClaimGlob[] }[];
  readonly profile: string | { readonly claim: ClaimPath; readonly values: ReadonlyMap<string, string> };
  readonly sub: ClaimPath;
  readonly act?: ClaimPath;
  /** Label → claim. */
  readonly labels: ReadonlyMap<string, ClaimPath>;
  /** Longest time from the issue of a credential to the end of its session; the profile's own bounds it, too. */
  readonly ttlMs?: number;
}

/** Where the public keys of an issuer are: a file, a URL, or what its discovery document says. */
export type KeySource =
  | { readonly kind: 'file'; readonly file: string }
  | { readonly kind: 'url' | 'discovery'; readonly url: string };

export interface JwtEntry extends Entry {
  readonly type: 'jwt';
  /** Exactly as `iss` has it. */
  readonly issuer: string;
  /** `aud` has one of them. */
  readonly audience: readonly string[];
  readonly keys: KeySource;
  /** JWS names, all of them asymmetric. */
  readonly algorithms: readonly string[];
  readonly clockSkewMs: number;
  /** For how much longer keys are used while the issuer cannot be reached. */
  readonly staleForMs: number;
}

export interface CertificateEntry extends Entry {
  readonly type: 'client-certificate';
  /** PEM: the only ones that may have signed a certificate of this entry. */
  readonly caFile: string;
}

export type IdentityEntry = JwtEntry | CertificateEntry;
