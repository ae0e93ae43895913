import type { Answering } from './reflector.ts';

/** One way for an upstream to give a secret back. */
export interface Probe extends Answering {
  /** The kind of leak, a row of the matrix. */
  readonly kind: Kind;
  readonly name: string;
  /** That the request needs. */
  readonly method?: 'HEAD';
  /** Further fields of the request. */
  readonly fields?: readonly (readonly [string, string])[];
  /** Only HTTP/1.1 has it. */
  readonly isHttp1?: boolean;
  /** Also where one end speaks HTTP/1.1 and the other HTTP/2. */
  readonly isMixed?: boolean;
  /** Messages of a WebSocket that it answers with. */
  readonly answers?: number;
}

export type Kind =
  | 'status text'
  | 'header'
  | 'cookie'
  | 'redirect'
  | 'interim answer'
  | 'trailer'
  | 'body'
  | 'spelled body'
  | 'compressed body'
  | 'body in pieces'
  | 'event stream'
  | 'error page'
  | 'range'
  | 'HEAD'
  | 'gRPC'
  | 'WebSocket';
