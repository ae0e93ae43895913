/** A secret that was found with a program that ran as the sandbox. */
export interface ProgramLeak {
  readonly credential: string;
  readonly kind: 'environment' | 'command line' | 'memory' | 'file' | 'output' | 'break-out';
  /** Such as `process 812 (node): variable TOKEN`. */
  readonly place: string;
  readonly spelling: string;
}

/** Something that could not be looked at. */
export interface Unseen {
  readonly what: string;
  readonly why: string;
}

/** How much was looked at. */
export interface Looked {
  processes: number;
  samples: number;
  memoryBytes: number;
  files: number;
}

export interface Watched {
  readonly leaks: readonly ProgramLeak[];
  readonly unseen: readonly Unseen[];
  readonly looked: Looked;
}
