import { Buffer } from 'node:buffer';

/** What an upstream received. */
export interface Received {
  readonly target: string;
  /** name, value, … */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer;
}

/** What an upstream answers with. */
export interface Reflection {
  readonly status?: number;
  /** Status text; HTTP/1.1 only. */
  readonly reason?: string;
  /** Fields of an interim answer before it. */
  readonly interim?: readonly (readonly [string, string])[];
  readonly headers?: readonly (readonly [string, string])[];
  readonly body?: Buffer;
  /** How the body is told apart from what follows; HTTP/1.1 only. `chunked` by default. */
  readonly framing?: 'length' | 'chunked' | 'close';
  /** Bytes per write, each a chunk or a DATA frame; the whole body by default. */
  readonly step?: number;
  /** Lets a turn of the event loop pass between two writes. */
  readonly drips?: boolean;
  readonly trailers?: readonly (readonly [string, string])[];
}

/** Fields that tell nothing of what the sandbox sent, or that only the hop needs. */
const OWN = /^(?:host|connection|content-length|transfer-encoding|te|accept(?:-.*)?|stubgate-probe|:.*)$/i;

/** The fields that a client chose: the credential is in one of them, in the target, or in the body. */
export function sentFields({ headers }: Received): (readonly [string, string])[] {
  return headers.filter(([name]) => !OWN.test(name));
}

/** All of it as one text, in one line or more. */
export function asText(received: Received, separator = '\n'): string {
  const fields = sentFields(received).map(([name, value]) => `${name}: ${value}`);
  return [received.target, ...fields, received.body.toString('latin1')]
    .filter(line => line !== '')
    .join(separator);
}

/** The values of it, each of which may be the credential alone, or hold it. */
export function valuesOf(received: Received): string[] {
  const query = received.target.split(/[/?&=]/);
  const body = received.body.toString('latin1').split(/["&=]/);
  const fields = sentFields(received).flatMap(([, value]) => [value, ...value.split(/[ ;=]+/)]);
  return [...new Set([...fields, ...query, ...body])].filter(value => value.length >= 8);
}

/** The pieces in which a body is written. */
export function* steps(body: Buffer, step = body.length): Generator<Buffer> {
  for (let at = 0; at < body.length; at += step) yield body.subarray(at, at + step);
}
