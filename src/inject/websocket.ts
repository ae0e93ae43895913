import { Buffer } from 'node:buffer';
import { z } from 'zod';
import { Refusal } from '../errors.ts';
import { define } from '../registry.ts';
import type { Secret } from '../secret.ts';
import { BodyFault, type Injection, type Placed, type Placement, type Rule, type Session } from '../types.ts';
import { POINTER, tokensOf } from './json.ts';
import { type JsonPlace, locate } from './json-text.ts';
import type { StubKey } from './stub.ts';

/** A string in the client's text messages, which are JSON. Nothing of it stands in the head of a request. */
class InMessage implements Placement {
  readonly type = 'websocket';
  readonly slot: string;
  readonly #tokens: readonly string[];

  constructor(pointer: string) {
    this.slot = `websocket ${pointer}`;
    this.#tokens = tokensOf(pointer);
  }

  find(): undefined {
    return undefined;
  }

  inject(): Placed {
    throw new Error('a credential of a message has no place in a head');
  }

  /** Undefined: nothing stands there. Throws for a text that two parsers may read differently there. */
  locate(json: Buffer): JsonPlace | undefined {
    const place = locate(json, this.#tokens);
    return place && place.start < place.end ? place : undefined;
  }
}

type MessageInjection = Injection & { readonly placement: InMessage };

/** One credential that will be written into a message. */
interface Step {
  readonly injection: Injection;
  readonly place: JsonPlace;
}

/** What a message will carry, known before any credential is fetched. */
export interface MessagePlan {
  readonly text: Buffer;
  /** From left to right. */
  readonly steps: readonly Step[];
}

/** The injections of a rule into messages. */
export function messageInjections({ injections }: Rule): readonly MessageInjection[] {
  return injections.filter((one): one is MessageInjection => one.placement instanceof InMessage);
}

/**
 * Decides what is written where in a text message. Throws stub_misplaced unless each stub in it is the session's own and
 * the whole string at its pointer, and foreign_credential where something else stands there.
 */
export function planMessage(
  text: Buffer,
  injections: readonly MessageInjection[],
  { stubs }: Pick<Session, 'stubs'>,
  key: StubKey,
): MessagePlan {
  const steps: Step[] = [];
  let isForeign = false;
  if (isJson(text)) {
    for (const slot of Map.groupBy(injections, ({ placement }) => placement.slot).values()) {
      const place = placeOf(slot[0]?.placement, text);
      const value: unknown = place && JSON.parse(text.toString('utf8', place.start, place.end));
      if (!place || value === null) continue;
      const injection = slot.find(({ credential }) => stubs.get(credential) === value);
      if (injection) steps.push({ injection, place });
      else isForeign ||= slot.some(({ foreign }) => foreign === 'refuse');
    }
  }
  if (key.count(text.toString('latin1')) !== steps.length) throw new Refusal('stub_misplaced');
  if (isForeign) throw new Refusal('foreign_credential');
  return { text, steps: steps.toSorted((a, b) => a.place.start - b.place.start) };
}

function isJson(text: Buffer): boolean {
  try {
    JSON.parse(text.toString('utf8'));
    return true;
  } catch {
    return false;
  }
}

function placeOf(placement: InMessage | undefined, text: Buffer): JsonPlace | undefined {
  try {
    return placement?.locate(text);
  } catch (thrown) {
    if (!(thrown instanceof BodyFault)) throw thrown;
    throw new Refusal('malformed_request', { message: `The message ${thrown.message}`, hint: thrown.hint });
  }
}

/** The message with its credentials; everything else stays byte for byte. */
export function applyMessage({ text, steps }: MessagePlan, secrets: (credential: string) => Secret): Buffer {
  const pieces: Buffer[] = [];
  let from = 0;
  for (const { injection, place } of steps) {
    const string = JSON.stringify(secrets(injection.credential).reveal());
    pieces.push(text.subarray(from, place.start), Buffer.from(string));
    from = place.end;
  }
  pieces.push(text.subarray(from));
  return Buffer.concat(pieces);
}

export const websocket = define({
  type: 'websocket',
  summary: 'A string in the text messages that the client sends through a WebSocket',
  schema: z
    .strictObject({
      pointer: z
        .string()
        .max(256)
        .regex(POINTER, 'must be a JSON Pointer (RFC 6901), such as /auth/token')
        .describe('Where the stub stands: a JSON Pointer (RFC 6901), such as /auth/token.'),
    })
    .superRefine((entry: Readonly<Record<string, unknown>>, context) => {
      for (const [key, only] of [
        ['when', 'stub'],
        ['required', false],
      ] as const) {
        if (entry[key] === undefined || entry[key] === only) continue;
        const message = `can only be ${only} in messages, of which most carry no credential; leave it out`;
        context.addIssue({ code: 'custom', path: [key], message });
      }
    }),
  build: ({ pointer }): Placement => new InMessage(pointer),
});
