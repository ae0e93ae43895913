import { Buffer } from 'node:buffer';
import { Secret } from '../secret.ts';
import type { OutboundHead, Placement } from '../types.ts';
import { tokensOf } from './json.ts';

/** A request that carries a stub where a placement looks for it. */
export interface Example {
  /** Origin-form. */
  readonly target: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Buffer;
  /** Of a WebSocket, behind its handshake. */
  readonly message?: Buffer;
}

const TYPES = { json: 'application/json', form: 'application/x-www-form-urlencoded' } as const;

/**
 * What a client sends that holds a stub. `path`: of the request. Undefined: the path has no such place.
 * A slot says where that is: `json /a/b`, `websocket /a/b`.
 */
export function exampleOf(
  placement: Placement,
  method: string,
  path: string,
  stub: string,
): Example | undefined {
  const pointer = placement.slot.slice(placement.slot.indexOf('/'));
  if (placement.type === 'websocket')
    return {
      target: path,
      headers: [],
      body: Buffer.alloc(0),
      message: Buffer.from(jsonWith(pointer, stub)),
    };
  const kind = placement.body?.kind;
  const content = kind && Buffer.from(kind === 'json' ? jsonWith(pointer, '') : '');
  const out: OutboundHead = { method, target: path, headers: [], body: kind && content && { kind, content } };
  if (placement.type === 'path' && placement.find(out) === undefined) return undefined;
  placement.inject(out, undefined, new Secret('stub', stub));
  const headers: [string, string][] = kind ? [['Content-Type', TYPES[kind]]] : [];
  for (let i = 0; i < out.headers.length; i += 2)
    headers.push([textOf(out.headers[i]), textOf(out.headers[i + 1])]);
  const body = out.body?.content ?? Buffer.alloc(0);
  return {
    target: textOf(out.target),
    headers,
    body: Buffer.isBuffer(body) ? body : Buffer.from(body.reveal(), 'latin1'),
  };
}

function textOf(part: string | Secret | undefined): string {
  return part instanceof Secret ? part.reveal() : (part ?? '');
}

/** A JSON text with a string at a pointer (RFC 6901). */
function jsonWith(pointer: string, value: string): string {
  return JSON.stringify(
    tokensOf(pointer).reduceRight<unknown>((inner, token) => ({ [token]: inner }), value),
  );
}
