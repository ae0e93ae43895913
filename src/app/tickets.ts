import { Buffer } from 'node:buffer';
import { hkdfSync } from 'node:crypto';
import type { ContextsOptions } from '../intercept/contexts.ts';

/**
 * The secret from which the keys of TLS session tickets are made, the same in all processes that have `key` and `salt`.
 * Nothing without a salt: a process that is alone makes up a secret.
 */
export function ticketSecret(key: Buffer, salt: string | undefined): ContextsOptions {
  if (salt === undefined) return {};
  return { ticketSecret: Buffer.from(hkdfSync('sha256', key, salt, 'stubgate tickets v1', 32)) };
}
