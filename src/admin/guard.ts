import { hash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';
import type { MiddlewareHandler } from 'hono';
import { refuse } from './refuse.ts';

/**
 * Keeps out web pages that a browser of this machine shows: none may call across origins, and none may reach the
 * listener by a name of its own (DNS rebinding). `name`: the host that the listener was configured with, if any.
 */
export function refuseBrowsers(name: string | undefined): MiddlewareHandler {
  return async (c, next) => {
    c.header('cache-control', 'no-store');
    c.header('x-content-type-options', 'nosniff');
    const site = c.req.header('sec-fetch-site');
    if (c.req.header('origin') !== undefined || (site !== undefined && site !== 'none')) {
      return refuse(c, 'from_a_browser');
    }
    // A Unix socket has no name that a page could take over.
    if (name !== undefined && !isOwnHost(c.req.header('host') ?? '', name)) return refuse(c, 'unknown_host');
    await next();
  };
}

function isOwnHost(header: string, name: string): boolean {
  const host = header
    .replace(/:\d+$/, '')
    .replace(/^\[(.*)\]$/, '$1')
    .toLowerCase();
  return isIP(host) > 0 || host === 'localhost' || host === name.toLowerCase();
}

export function requireToken(token: string): MiddlewareHandler {
  // Hashed, so that both sides have one length.
  const expected = hash('sha256', token, 'buffer');
  return async (c, next) => {
    const sent = /^Bearer +(\S+)$/i.exec(c.req.header('authorization') ?? '')?.[1] ?? '';
    if (!timingSafeEqual(hash('sha256', sent, 'buffer'), expected)) return refuse(c, 'unauthenticated');
    await next();
  };
}
