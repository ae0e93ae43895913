/** So many permits at once, and as many again in the course of time, evenly. A permit is a request, or a byte. */
export interface Budget {
  readonly capacity: number;
  /** Permits that come back in one ms; 0: none ever do. */
  readonly perMs: number;
}

/** What holds for each session of a profile, or for all of them together. */
export interface ProfileLimits extends CredentialLimits {
  readonly per: 'session' | 'profile';
  /** Open at a time. */
  readonly tunnels?: number;
}

/** What holds for all requests that use a credential, whoever sends them. */
export interface CredentialLimits {
  /** `requests_per_second`, with `burst` */
  readonly rate?: Budget;
  readonly requests?: Budget;
  /** Of requests: what a sandbox sends to upstreams. */
  readonly bytes?: Budget;
}

/** How a limit is called in the configuration. */
export const KINDS = {
  rate: 'requests_per_second',
  requests: 'requests',
  bytes: 'bytes_out',
} as const satisfies Record<keyof CredentialLimits, string>;

export type Kind = keyof typeof KINDS;
