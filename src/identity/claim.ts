/** What a proxy credential says: a token, and the session that it should belong to if the method names one. */
export interface Claim {
  readonly token: string;
  readonly session?: string;
}

/** One way to authenticate to the proxy. */
export interface Method {
  /** Lower case. */
  readonly scheme: string;
  /** The claim in the credentials after the scheme; undefined if they are not in the one canonical form. */
  parse(credentials: string): Claim | undefined;
}
