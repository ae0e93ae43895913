import { createHash } from 'node:crypto';
import { Outbound } from '../../src/inject/outbound.ts';
import { StubKey } from '../../src/inject/stub.ts';
import type { BodyKind, Injection, Placement, RequestHead, Rule, Session } from '../../src/types.ts';

/** A key from a seed, so that a failure can be repeated. */
export function keyOf(seed: string): StubKey {
  return new StubKey(createHash('sha256').update(seed).digest());
}

/** A request head as the codec would give it. */
export function headOf(target: string, headers: readonly string[], method = 'GET'): RequestHead {
  let text = `${method} ${target} HTTP/1.1\r\n`;
  const starts = [text.length];
  for (let i = 0; i < headers.length; i += 2) {
    text += `${headers[i]}: ${headers[i + 1]}\r\n`;
    starts.push(text.length);
  }
  const bytes = Buffer.from(`${text}\r\n`, 'latin1');
  return {
    method,
    target,
    minor: 1,
    headers,
    length: 0,
    expectContinue: false,
    keepAlive: true,
    bytes,
    text,
    starts,
  };
}

export function ruleOf(injections: readonly Injection[], allowRange = false): Rule {
  return { name: 'rule', action: 'allow', matches: () => true, injections, allowRange };
}

export function injection(placement: Placement, options: Partial<Injection> = {}): Injection {
  return { credential: 'github', placement, when: 'stub', required: false, foreign: 'refuse', ...options };
}

export function sessionOf(stubs: Readonly<Record<string, string>>): Session {
  return {
    session: 's_test',
    profile: 'default',
    labels: {},
    createdAt: 0,
    expiresAt: 1,
    tokenHash: '',
    stubs: new Map(Object.entries(stubs)),
  };
}

export function outbound(target: string, headers: readonly string[]): Outbound {
  return Outbound.from(headOf(target, headers), target, ruleOf([]));
}

export function base64(text: string): string {
  return Buffer.from(text, 'latin1').toString('base64');
}

/** Every character percent-encoded, `rounds` times over. */
export function percent(text: string, rounds = 1): string {
  let encoded = text;
  for (let i = 0; i < rounds; i++) {
    encoded = encoded
      .split('')
      .map(char => `%${char.charCodeAt(0).toString(16).padStart(2, '0')}`)
      .join('');
  }
  return encoded;
}

/** A request with a body that was received whole; latin1 text. */
export function outboundBody(kind: BodyKind, body: string | Buffer): Outbound {
  const out = outbound('/', []);
  out.body = { kind, content: typeof body === 'string' ? Buffer.from(body, 'latin1') : body };
  return out;
}
