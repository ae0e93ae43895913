// Opcodes (RFC 6455, section 5.2).
export const CONTINUATION = 0x0;
export const TEXT = 0x1;
export const BINARY = 0x2;
export const CLOSE = 0x8;
export const PING = 0x9;
export const PONG = 0xa;

/** What a message is made of. */
export type Kind = typeof TEXT | typeof BINARY;
export type ControlOpcode = typeof CLOSE | typeof PING | typeof PONG;

// Status codes of a Close (RFC 6455, section 7.4.1).
export const GOING_AWAY = 1001;
export const PROTOCOL_ERROR = 1002;
export const INVALID_DATA = 1007;
export const POLICY_VIOLATION = 1008;
export const TOO_BIG = 1009;
export const INTERNAL_ERROR = 1011;

/** Payload bytes of a control frame, at most (RFC 6455, section 5.5). */
export const MAX_CONTROL = 125;
/** Payload bytes of a message, at most, over all its frames. */
export const MAX_MESSAGE = 2 ** 30;

/** A peer that does not speak RFC 6455. `code`: what a Close tells it. The message quotes nothing that it sent. */
export class Violation extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.name = 'Violation';
    this.code = code;
  }
}

/** What a Close may say (RFC 6455, section 7.4; the IANA registry for 1012 to 1014). */
export function isCloseCode(code: number): boolean {
  if (code >= 3000) return code <= 4999;
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014);
}
