import type { Secret } from './secret.ts';

/** Secrets that a session was handed out by upstreams, each with a stub of its own. They never leave their gates. */
export interface Captured {
  /** Changes whenever `known` may give others. */
  readonly version: number;
  /** Values to be removed from the session's responses, whether or not they may still be used. */
  known(): readonly Secret[];
  /** The credential's stub for which this text stands: the stub itself, or the access key id that is made of it. */
  stubAt(credential: string, text: string): string | undefined;
  /** Undefined: that is no stub of the credential's. Throws `credential_unavailable` once its time is over. */
  secret(credential: string, stub: string): Secret | undefined;
  /** The stub for a secret of that name; undefined if none is called so. */
  stubFor(name: string): string | undefined;
}

/** A new secret that is taken out of the answers to a rule's requests. */
export interface Capture {
  /** Name in `credentials`. */
  readonly credential: string;
  readonly place: CapturePlace;
  /** How long it may be used, in ms; absent: as long as the session lives. */
  readonly ttlMs?: number;
}

/** Where an answer hands out a secret. */
export interface CapturePlace {
  readonly type: string;
  /** Such as `json /access_token`; safe to log. */
  readonly slot: string;
  /** The place is in a body of one of these kinds. Absent: it is in the head. */
  readonly body?: readonly AnswerKind[];
  /** An answer may hand out nothing there without saying why. */
  readonly isQuiet?: true;
  /** What stands there are AWS keys. */
  readonly handsOutKeys?: true;
  /** Undefined: nothing stands there. Throws BodyFault for an answer that cannot be read, or not in one way only. */
  find(answer: ReadAnswer): Handout | undefined;
}

export type AnswerKind = 'json' | 'form' | 'xml';

/** An answer that was received whole; its body, decoded, is valid UTF-8 if a place is in it. */
export interface ReadAnswer {
  /** name, value, …; latin1. */
  readonly headers: readonly string[];
  readonly body: Buffer;
}

/** A secret that an answer hands out. */
export interface Handout {
  /** A text, or AWS keys in JSON. */
  readonly value: string;
  readonly spots: readonly Spot[];
  /** How long it is good, in ms, if the answer says so. */
  readonly lifeMs?: number;
}

/** Where a part of it stands, and what is written there instead. */
export interface Spot {
  readonly in: 'headers' | 'body';
  /** Bytes of the body; in `headers` the index of the value, and the next one. */
  readonly start: number;
  readonly end: number;
  readonly text: string;
  write(stub: string, ids: { accessKeyId(stub: string): string; sessionToken(stub: string): string }): string;
}
